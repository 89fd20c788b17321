//! Generates the gRPC server stubs and the embedded descriptor set from the `.proto` files inside the crate `temporalio-protos`.
//!
//! The crate publishes a compiled descriptor set (`DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH`), but in it the options that are
//! extensions are gone, and with them `google.api.http`, from which the REST routes are made. So its `.proto` files are compiled
//! again here, with those options kept. Messages are not generated: the stubs use the crate's own types through `extern_path`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files whose services are served.
const SERVICES: [&str; 3] = [
    "temporal/api/workflowservice/v1/service.proto",
    "temporal/api/operatorservice/v1/service.proto",
    "grpc/health/v1/health.proto",
];

/// Files needed only for their messages: error details travel as `google.protobuf.Any` and are printed as JSON.
const MESSAGES: [&str; 2] = [
    "temporal/api/errordetails/v1/message.proto",
    "google/rpc/status.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH");
    let folder = protos_folder()?;
    println!("cargo:rerun-if-changed={}", folder.display());
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new([folder.join("api_upstream"), folder.clone()])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(SERVICES.iter().chain(&MESSAGES))?;
    std::fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    let mut files = compiler.file_descriptor_set();
    for file in &mut files.file {
        if !SERVICES.contains(&file.name()) {
            file.service.clear();
        }
        file.source_code_info = None;
    }
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(true)
        .generate_default_stubs(true)
        .extern_path(".temporal.api", "::temporalio_protos::temporal::api")
        .extern_path(".google.rpc", "::temporalio_protos::google::rpc")
        .extern_path(".grpc.health.v1", "::temporalio_protos::grpc::health::v1")
        .compile_fds(files)?;
    Ok(())
}

/// The folder `protos` in the sources of the very `temporalio-protos` this build uses.
fn protos_folder() -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(std::env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        // Without this, cargo would ask for packages of other platforms, which a plain build never fetches.
        .args(["--filter-platform", &std::env::var("TARGET")?])
        .current_dir(std::env::var("CARGO_MANIFEST_DIR")?)
        .output()?;
    if !output.status.success() {
        return Err(format!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "temporalio-protos")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata does not know the package temporalio-protos")?;
    let folder = Path::new(manifest)
        .parent()
        .ok_or("a manifest path has a folder")?
        .join("protos");
    Ok(folder)
}
