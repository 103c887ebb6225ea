//! Every fuzz target of every crate in one program: the environment variable `TARGET` chooses, `SEEDS` names a folder
//! that its seeds are written to first. Without `TARGET` it says which there are.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

static BODY: OnceLock<fn(&[u8])> = OnceLock::new();

fn targets() -> Vec<Target> {
    let crates = [
        nats_config::fuzz::TARGETS,
        host_state::fuzz::TARGETS,
        identity::fuzz::TARGETS,
        #[cfg(feature = "agent")]
        nats_agent_api::fuzz::TARGETS,
        #[cfg(feature = "agent")]
        nats_agent::fuzz::TARGETS,
        #[cfg(feature = "provider")]
        tfplug::fuzz::TARGETS,
        #[cfg(feature = "provider")]
        terraform_provider_nats::fuzz::TARGETS,
    ];
    crates.concat()
}

fn choose() {
    let targets = targets();
    let wanted = std::env::var("TARGET").unwrap_or_default();
    let Some((_, body, seeds)) = targets.iter().find(|(name, ..)| *name == wanted) else {
        targets.iter().for_each(|(name, ..)| println!("{name}"));
        std::process::exit(i32::from(!wanted.is_empty()));
    };
    if let Some(folder) = std::env::var_os("SEEDS") {
        for (number, seed) in seeds().into_iter().enumerate() {
            std::fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).expect("write a seed");
        }
    }
    BODY.set(*body).expect("chosen once");
}

fuzz_target!(init: choose(), |bytes: &[u8]| BODY.get().expect("chosen")(bytes));
