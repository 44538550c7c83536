//! `steersman-certs`: makes the keys, certificates and kubeconfigs of a cluster in one go.
//!
//! `steersman-certs --home DIR --server URL [--host NAME_OR_IP]... [--node NAME=IP[,IP]]...`

use std::process::ExitCode;
use steersman_pki::cluster::{Options, create};

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(|o| create(&o).map_err(|e| e.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("steersman-certs: {e}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut o = Options {
        home: Default::default(),
        server: String::new(),
        apiserver_hosts: [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
            "::1",
        ]
        .map(str::to_owned)
        .to_vec(),
        nodes: Vec::new(),
    };
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--home" => o.home = value.into(),
            "--server" => o.server = value,
            "--host" => o.apiserver_hosts.push(value),
            "--node" => {
                let (node, hosts) = value.split_once('=').unwrap_or((&value, ""));
                let hosts = hosts.split(',').filter(|h| !h.is_empty()).map(str::to_owned).collect();
                o.nodes.push((node.to_owned(), hosts));
            }
            _ => return Err(format!("unknown flag {name}")),
        }
    }
    if o.home.as_os_str().is_empty() || o.server.is_empty() {
        Err("--home and --server are needed".into())
    } else {
        Ok(o)
    }
}
