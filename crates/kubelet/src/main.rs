//! The `kubelet` binary.

use steersman_component::{
    flags::{COMMON, parse_or_exit},
    logs, shutdown,
};
use steersman_kubelet::{flags, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ABOUT: &str = "The kubelet is the primary \"node agent\" that runs on each node.";

fn main() {
    let flags = parse_or_exit("kubelet", ABOUT, &[flags::table(), COMMON]);
    logs::init(&flags);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let shutdown = shutdown::on_signals()?;
            run(flags, shutdown).await
        })
    });
    if let Err(error) = outcome {
        eprintln!("Error: {error:#}");
        std::process::exit(1);
    }
}
