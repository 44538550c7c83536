//! Benchmarks that run against any apiserver, ours or another, by its URL.
//!
//! `steersman-bench --server https://127.0.0.1:6443 --cert admin.crt --key admin.key --ca ca.crt --pid PID [--work get,list]`
//!
//! With the server's pid the table also shows CPU for each request and resident memory, from `/proc`.

mod api;
mod etcd;
mod measure;
mod work;

use anyhow::{Context, Result};
use api::Api;
use steersman_component::flags::Kind::{Int, List, Text};
use steersman_component::flags::{Flag, flag, parse_or_exit};
use work::{Options, TABLE};

const FLAGS: &[Flag] = &[
    flag("Server", "server", Text, "https://127.0.0.1:6443", "URL of the apiserver."),
    flag("Server", "cert", Text, "", "Client certificate, PEM."),
    flag("Server", "key", Text, "", "Its private key, PEM."),
    flag("Server", "ca", Text, "", "Certificate of the server's authority, PEM."),
    flag("Server", "pid", Int, "0", "The server's process id, for CPU and memory."),
    flag("Server", "etcd", Text, "", "URL of its etcd, for the work `etcd-create`."),
    flag("Server", "etcd-ca", Text, "", "Certificate of etcd's authority, PEM."),
    flag("Server", "etcd-cert", Text, "", "Client certificate for etcd, PEM."),
    flag("Server", "etcd-key", Text, "", "Its private key, PEM."),
    flag("Load", "accept", Text, "application/json", "Media type of answers; the work `watch` reads only JSON."),
    flag("Load", "connections", Int, "16", "HTTP/2 connections, one request at a time on each."),
    flag("Load", "seconds", Int, "5", "Length of each measurement."),
    flag("Load", "pods", Int, "5000", "Stored pods."),
    flag("Load", "watchers", Int, "1000", "Watchers of the work `watch`."),
    flag(
        "Load",
        "work",
        List,
        "get,get-cached,create,patch-status,list-500,list-all,watch",
        "What to measure, in this order.",
    ),
    flag("Global", "help", steersman_component::flags::Kind::Bool, "false", "Help."),
    flag("Global", "version", Text, "false", "Version."),
];

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let flags = parse_or_exit("steersman-bench", "Measures an apiserver.", &[FLAGS]);
    let file = |name| flags.path(name).with_context(|| format!("--{name} is needed"));
    let api = Api::new(flags.text("server"), &file("cert")?, &file("key")?, &file("ca")?, flags.text("accept"))?;
    let etcd = match flags.text("etcd") {
        "" => None,
        url => Some(etcd::Target {
            url: url.to_owned(),
            files: [file("etcd-ca")?, file("etcd-cert")?, file("etcd-key")?].map(Into::into),
        }),
    };
    let number = |name| usize::try_from(flags.int(name)).unwrap_or(0);
    let options = Options {
        connections: number("connections").max(1),
        seconds: number("seconds").max(1) as u64,
        pods: number("pods").max(1),
        watchers: number("watchers").max(1),
        etcd,
        pid: Some(flags.int("pid")).filter(|p| *p > 0).map(|p| p as u32),
    };
    work::prepare(&api, &options).await.context("the pods to measure with could not be made")?;
    println!(
        "{:<14} {:>10} {:>9} {:>9} {:>11} {:>12} {:>10}",
        "work", "per second", "p50 ms", "p99 ms", "CPU µs each", "MB/s", "RSS MiB"
    );
    for name in flags.list("work") {
        let Some((_, run)) = TABLE.iter().find(|(n, _)| *n == name) else {
            eprintln!("no work is called {name:?}; there are {}", TABLE.map(|(n, _)| n).join(", "));
            continue;
        };
        println!("{name:<14} {}", run(api.clone(), options.clone()).await.with_context(|| name.clone())?);
    }
    Ok(())
}
