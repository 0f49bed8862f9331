//! Names of devices and what they stand for: the only file that names a burn backend.

#[cfg(feature = "cuda")]
use crate::error::Error;
use crate::error::Result;
use crate::plugin::Setting;
use crate::problem::{Reader, nearest};
use burn::tensor::Device;
use std::fmt;
use std::str::FromStr;
use toml::Value;

/// The name of a device that this build understands.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceName(pub String);

impl DeviceName {
    /// The name without the number of one of several such devices.
    pub fn backend(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DeviceName {
    type Err = String;
    fn from_str(name: &str) -> std::result::Result<Self, String> {
        check(name).map(|()| Self(name.into())).map_err(|problem| format!("{problem}; it knows {}", known()))
    }
}

impl Setting for DeviceName {
    fn kind() -> String {
        "device".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let name = String::read(value, reader)?;
        match check(&name) {
            Ok(()) => Some(Self(name)),
            Err(_) if !BACKENDS.contains(&name.split(':').next().unwrap_or_default()) => {
                reader.unknown(&name, "device", &known(), nearest(&name, BACKENDS.into_iter()))
            }
            Err(problem) => reader.report(problem, known()),
        }
    }
    fn write(&self) -> Value {
        Value::String(self.0.clone())
    }
}

const BACKENDS: [&str; 4] = ["flex", "cuda", "tch", "wgpu"];

/// A name of each kind of device that this build understands.
pub fn built() -> Vec<DeviceName> {
    names().into_iter().map(|name| DeviceName(name.into())).collect()
}

fn names() -> Vec<&'static str> {
    let mut names = vec!["flex"];
    if cfg!(feature = "cuda") {
        names.push("cuda:0");
    }
    if cfg!(feature = "tch") {
        names.push("tch");
    }
    if cfg!(feature = "wgpu") {
        names.push("wgpu");
    }
    names
}

/// In words.
fn known() -> String {
    let names = names();
    format!("one of {} (others need a build with their cargo feature: cuda, tch, wgpu)", names.join(", "))
}

/// Whether `name` is a device that this build understands, without touching it.
fn check(name: &str) -> std::result::Result<(), String> {
    let (backend, index) = name.split_once(':').unwrap_or((name, "0"));
    let built = match backend {
        "flex" => true,
        "cuda" => cfg!(feature = "cuda"),
        "tch" => cfg!(feature = "tch"),
        "wgpu" => cfg!(feature = "wgpu"),
        _ => return Err(format!("no device is called `{name}`")),
    };
    if index.parse::<usize>().is_err() || (backend == "flex" && name != "flex") {
        return Err(format!("no device is called `{name}`"));
    }
    if built { Ok(()) } else { Err(format!("this build has no `{backend}`")) }
}

/// The device called `name`.
pub fn open(DeviceName(name): &DeviceName) -> Result<Device> {
    let (backend, index) = name.split_once(':').unwrap_or((name, ""));
    device(backend, index.parse().ok())
}

#[allow(unused_variables)]
fn device(backend: &str, index: Option<usize>) -> Result<Device> {
    match backend {
        #[cfg(feature = "cuda")]
        "cuda" => {
            probe_cuda()?;
            Ok(Device::cuda(index.unwrap_or(0)))
        }
        #[cfg(feature = "tch")]
        #[allow(deprecated)]
        "tch" => Ok(index.map_or_else(Device::libtorch, Device::libtorch_cuda)),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(Default::default())),
        _ => Ok(Device::flex()),
    }
}

/// burn panics in a thread of its own where CUDA is missing, so its driver is looked for first.
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
fn probe_cuda() -> Result<()> {
    // SAFETY: the CUDA driver library's initialisers are meant to be run by loading it, as burn does right after.
    let found = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"]
        .iter()
        .any(|name| unsafe { libloading::Library::new(*name) }.is_ok());
    match found {
        true => Ok(()),
        false => Err(Error::new("no CUDA driver on this machine")
            .at("device")
            .fix("device = \"flex\", or a machine with a GPU")),
    }
}
