//! What the data says of the items besides titles, as numbers.

use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::corpus::Attribute;
use framework::error::{Error, Result};
use framework::protocol::Train;
use framework::roles::Embeddings;
use std::collections::BTreeMap;

framework::plugin! {
    /// Attributes of the items, as their dataset keeps them: categories, brands, authors, prices, years.
    ///
    /// An attribute whose values are all numbers is one number, less its mean and divided by its standard deviation over
    /// the catalogue (0 for items without it); any other is a number for each of its values, 1 for the items that have it
    /// and 0 for others, where a value of several parts, such as `Drama, War`, counts as each of them. Values of fewer than
    /// `min_items` items are left out. Order: as in `names`, values by their letters. Nothing is learned.
    struct Attributes: Embeddings = "attributes" {
        /// Which; all that the dataset keeps when empty.
        names: Vec<String> = Vec::new(),
        /// Values of fewer items are left out.
        #[range(1..=1_000_000)]
        min_items: usize = 2,
        /// What parts the values of one item; empty for one value each.
        separator: String = String::from(","),
    }
}

/// Columns may not be more than this many: a title is no attribute.
const WIDEST: usize = 65_536;

impl Embeddings for Attributes {
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>> {
        let kept = &train.items.attributes;
        let find = |name: &String| {
            let there = || kept.iter().map(|attribute| attribute.name.as_str()).collect::<Vec<_>>().join(", ");
            kept.iter().find(|attribute| attribute.name == *name).ok_or_else(|| {
                Error::new(format!("the dataset keeps no attribute `{name}`; there are: {}", there()))
                    .at("embeddings.names")
                    .fix("`dataset.attributes`, which names the columns that are kept")
            })
        };
        let chosen: Vec<&Attribute> = match self.names.is_empty() {
            true => kept.iter().collect(),
            false => self.names.iter().map(find).collect::<Result<_>>()?,
        };
        let mut columns = Vec::new();
        for attribute in chosen {
            cx.proceed()?;
            columns.extend(numbers(attribute).map_or_else(|| self.values(attribute), |column| vec![column]));
        }
        match columns.len() {
            0 => Err(Error::new("no attribute has a value that enough items share")
                .at("embeddings")
                .fix("`dataset.attributes`, or a lower `min_items`")),
            1..=WIDEST => {
                let all: Vec<f32> = (0..train.num_items()).flat_map(|n| columns.iter().map(move |c| c[n])).collect();
                let shape = [train.num_items(), columns.len()];
                Ok(Tensor::from_data(TensorData::new(all, shape), &cx.device))
            }
            wide => Err(Error::new(format!("the attributes have {wide} different values, more than {WIDEST}"))
                .at("embeddings")
                .fix("a higher `min_items`, or `names` of fewer attributes")),
        }
    }
}

impl Attributes {
    /// A column for each value that enough items have.
    fn values(&self, attribute: &Attribute) -> Vec<Vec<f32>> {
        let mut items_of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (item, value) in attribute.values.iter().enumerate() {
            let value = value.as_deref().unwrap_or_default();
            let parts: Vec<&str> = match self.separator.is_empty() {
                true => vec![value],
                false => value.split(self.separator.as_str()).collect(),
            };
            for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
                let items = items_of.entry(part).or_default();
                if items.last() != Some(&item) {
                    items.push(item);
                }
            }
        }
        let column = |items: Vec<usize>| {
            let mut column = vec![0.0; attribute.values.len()];
            items.into_iter().for_each(|item| column[item] = 1.0);
            column
        };
        items_of.into_values().filter(|items| items.len() >= self.min_items).map(column).collect()
    }
}

/// The attribute as one standardized number, if all its values are numbers. A price may have its sign: `$4.99`.
fn numbers(attribute: &Attribute) -> Option<Vec<f32>> {
    let number = |value: &String| value.trim_start_matches('$').parse::<f64>().ok().filter(|number| number.is_finite());
    let values: Vec<Option<f64>> = attribute
        .values
        .iter()
        .map(|value| value.as_ref().map_or(Some(None), |value| number(value).map(Some)))
        .collect::<Option<_>>()?;
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let count = known.len().max(1) as f64;
    let mean = known.iter().sum::<f64>() / count;
    let deviation = (known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let scaled = |value: Option<f64>| value.map_or(0.0, |value| ((value - mean) / deviation.max(1e-12)) as f32);
    (!known.is_empty()).then(|| values.into_iter().map(scaled).collect())
}

#[cfg(test)]
mod tests {
    use super::Attributes;
    use crate::fixture::{context, rows, titled};
    use crate::reading::fixture::says;
    use framework::corpus::Attribute;
    use framework::plugin::defaults;
    use framework::protocol::Train;
    use framework::roles::Embeddings;
    use std::sync::Arc;

    fn train() -> Train {
        let mut train = titled(&["a", "b", "c"]);
        let attribute = |name: &str, values: [Option<&str>; 3]| Attribute {
            name: name.into(),
            values: values.map(|value| value.map(String::from)).to_vec(),
        };
        Arc::make_mut(&mut train.items).attributes = vec![
            attribute("genres", [Some("War, Drama"), Some("Drama, Drama"), None]),
            attribute("price", [Some("$1"), None, Some("3.0")]),
        ];
        train
    }

    #[test]
    fn values_are_columns_and_numbers_are_standardized() {
        let (cx, _folder) = context();
        let embed = |attributes: Attributes| attributes.embed(&train(), &cx);
        let all = embed(Attributes { min_items: 1, ..defaults() }).expect("columns: Drama, War, price");
        assert_eq!(rows(all), [[1.0, 1.0, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]);
        let shared = embed(Attributes { names: vec!["genres".into()], ..defaults() }).expect("only Drama is shared");
        assert_eq!(rows(shared), [[1.0], [1.0], [0.0]]);
        says(
            embed(Attributes { names: vec!["brand".into()], ..defaults() }),
            &["no attribute `brand`", "genres, price"],
        );
        says(
            embed(Attributes { min_items: 3, names: vec!["genres".into()], ..defaults() }),
            &["no attribute has a value"],
        );
    }
}
