//! The `kube-scheduler` binary.

use std::process::ExitCode;
use steersman_component::{flags, logs, memory};
use steersman_scheduler::{FLAGS, app};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ABOUT: &str = "The Kubernetes scheduler assigns pods to nodes: it finds out which nodes are possible for each pod in \
the queue by constraints and resources that are left, rates them, and binds the pod to the best one.";

fn main() -> ExitCode {
    memory::small_pages();
    let flags = flags::parse_or_exit("kube-scheduler", ABOUT, &[FLAGS, flags::COMMON]);
    logs::init(&flags);
    // The main thread decides while the worker speaks with the apiserver.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(app::run(flags)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
