//! The `kube-apiserver` binary.

use steersman_apiserver::{app, config::Config, flags::FLAGS};
use steersman_component::flags::{COMMON, parse_or_exit};
use steersman_component::{logs, memory, shutdown};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a worker's stack.
const STACK: usize = 8 << 20;

fn main() {
    memory::small_pages();
    let flags = parse_or_exit("kube-apiserver", "The Kubernetes API server.", &[FLAGS, COMMON]);
    let config = Config::new(&flags).unwrap_or_else(|e| {
        eprintln!("Error: {e}");
        std::process::exit(1)
    });
    logs::init(&flags);
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let run = || -> anyhow::Result<()> {
        // Parsers and converters follow the nesting of a document with their own calls. Pages of a stack that nobody
        // touches cost nothing.
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK).enable_all().build()?;
        runtime.block_on(async { app::run(config, shutdown::on_signals()?).await })
    };
    if let Err(e) = run() {
        eprintln!("Error: {e:#}");
        std::process::exit(1);
    }
}
