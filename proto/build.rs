//! Tells the crate where `temporalio-protos` left the descriptors of Temporal's API.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH");
    let path = std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")
        .expect("temporalio-protos is a direct dependency and publishes its descriptors");
    println!("cargo:rustc-env=TEMPORAL_DESCRIPTORS={path}");
}
