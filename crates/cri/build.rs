//! Compiles the runtime interface; only the client side is ever needed.

fn main() -> std::io::Result<()> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}/cri/v1.proto");
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&[format!("{root}/cri/v1.proto")], &[root.to_string()])
}
