//! Compiles the `.proto` files with protox, so that no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["tfplugin6.proto", "plugin.proto", "health.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        // Requests and states hold secrets: nothing generated may print itself.
        .skip_debug(["."])
        // Messages that only hold other messages are never made.
        .type_attribute(".tfplugin6", "#[allow(dead_code)]")
        .compile_fds(descriptors)?;
    Ok(())
}
