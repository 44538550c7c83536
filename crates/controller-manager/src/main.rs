//! The `kube-controller-manager` binary.

use std::process::ExitCode;

use steersman_component::{flags, logs, memory};
use steersman_controller_manager::{FLAGS, manager};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ABOUT: &str = "The Kubernetes controller manager is a daemon that embeds the core control loops: each watches the \
shared state of the cluster through the apiserver and makes changes that move the current state towards the desired one.";

fn main() -> ExitCode {
    memory::small_pages();
    let flags = flags::parse_or_exit("kube-controller-manager", ABOUT, &[FLAGS, flags::COMMON]);
    logs::init(&flags);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(manager::run(flags)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Controllers wait more than they compute: a few threads do for any cluster.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().min(4))
}
