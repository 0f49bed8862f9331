//! The program: the framework's command line with the plugins linked in.

// Without this line the plugins would not be linked and their registries would be empty.
use plugins as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(cli::BuiltIn {
        base: include_str!("base.toml"),
        code: framework::provenance::Code {
            lock: include_str!("../Cargo.lock"),
            revision: option_env!("BUILT_FROM_REVISION"),
        },
        checkpoint: "local",
    })
}
