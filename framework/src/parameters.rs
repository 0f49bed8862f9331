//! A module's parameters, flat and by path, in the order of its fields: what checkpoints, gradients and the optimizer
//! agree on.

use crate::error::{Error, Result};
use crate::rng::Rng;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

/// One parameter.
pub struct Parameter {
    /// The fields that lead to it, joined by dots.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, flat, without autodiff.
    pub values: Tensor<1>,
}

impl Parameter {
    /// Other values of this parameter's path and shape.
    #[must_use]
    pub fn with(&self, values: Tensor<1>) -> Self {
        Self { path: self.path.clone(), shape: self.shape.clone(), values }
    }
}

/// Every parameter of `model`.
pub fn read<M: Module>(model: &M) -> Vec<Parameter> {
    let mut reader = Reader { path: Vec::new(), seen: Vec::new() };
    model.visit(&mut reader);
    reader.seen
}

/// Each parameter's gradient, flat, in the same order; `None` where it has none.
pub fn gradients<M: Module>(model: &M, gradients: Gradients) -> Vec<Option<Tensor<1>>> {
    let mut taker = Taker { gradients, taken: Vec::new() };
    model.visit(&mut taker);
    taker.taken
}

/// Replaces every parameter, in the same order, by what `replace` makes of its path, shape and flat values.
pub fn replace<M: Module>(model: M, replace: impl FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) -> M {
    model.map(&mut Writer { path: Vec::new(), replace })
}

/// Says of every parameter, by its path, whether training changes it.
pub fn require_gradients<M: Module>(model: M, trains: impl Fn(&str) -> bool) -> M {
    model.map(&mut Switch { path: Vec::new(), trains })
}

/// Draws every matrix anew: normal with mean 0 and variance 2 / (rows + columns) (Glorot and Bengio, AISTATS 2010).
///
/// Vectors keep what the layers set: zero for biases, one for the scales of norms. burn would draw from one generator
/// per process, in the order of first use.
pub fn initialize<M: Module>(model: M, rng: &Rng) -> M {
    let mut drawn = 0;
    replace(model, |_, shape, values| {
        drawn += 1;
        let &[.., rows, columns] = shape else { return values };
        let mut rng = rng.fork(drawn);
        let deviation = (2.0 / (rows + columns) as f64).sqrt();
        let draws: Vec<f32> = (0..values.dims()[0]).map(|_| (deviation * rng.normal()) as f32).collect();
        Tensor::from_data(TensorData::new(draws, values.shape()), &values.device())
    })
}

/// Gives the parameters the values of `tensors`, which are named by `prefix` and path.
pub fn load<M: Module>(model: M, tensors: &crate::checkpoint::Tensors, prefix: &str) -> Result<M> {
    let mut missing = None;
    let model = replace(model, |path, shape, values| {
        let name = format!("{prefix}{path}");
        match tensors.get(&name) {
            Some((stored, data)) if stored == shape => {
                Tensor::from_data(TensorData::new(data.clone(), [data.len()]), &values.device())
            }
            _ => {
                missing.get_or_insert(format!("`{name}` of shape {shape:?}"));
                values
            }
        }
    });
    missing.map_or(Ok(model), |missing| {
        Err(Error::new(format!("the checkpoint holds no {missing}")).fix("a checkpoint made with the same settings"))
    })
}

struct Reader {
    path: Vec<String>,
    seen: Vec<Parameter>,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.base().without_autodiff();
        let shape = values.dims();
        let values = values.reshape([shape.iter().product::<usize>()]);
        self.seen.push(Parameter { path: self.path.join("."), shape: shape.to_vec(), values });
    }
}

struct Taker {
    gradients: Gradients,
    taken: Vec<Option<Tensor<1>>>,
}

impl ModuleVisitor for Taker {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.base().grad_remove(&mut self.gradients);
        self.taken.push(gradient.map(|gradient| {
            let len = gradient.shape().num_elements();
            gradient.reshape([len])
        }));
    }
}

struct Writer<F> {
    path: Vec<String>,
    replace: F,
}

impl<F: FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>> ModuleMapper for Writer<F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, values, mapper) = param.consume();
        let shape = values.dims();
        let flat = values.reshape([shape.iter().product::<usize>()]);
        let values = (self.replace)(&self.path.join("."), &shape, flat).reshape(shape);
        Param::from_mapped_value(id, values, mapper)
    }
}

struct Switch<F> {
    path: Vec<String>,
    trains: F,
}

impl<F: Fn(&str) -> bool> ModuleMapper for Switch<F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trains = (self.trains)(&self.path.join("."));
        param.set_require_grad(trains)
    }
}
