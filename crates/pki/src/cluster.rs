//! The PKI of a new cluster: authorities, serving and client certificates, token keys and kubeconfigs, under the names
//! that kubeadm gives them where it has one. What is there already is kept.

use crate::authority::{Authority, Issued, Request, Usage};
use crate::{Error, files};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::{Path, PathBuf};

/// What the cluster is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where `pki/` and the kubeconfigs go.
    pub home: PathBuf,
    /// The URL that kubeconfigs name.
    pub server: String,
    /// DNS names and addresses of the apiserver.
    pub apiserver_hosts: Vec<String>,
    /// Names of nodes with the addresses of each: `name=ip`.
    pub nodes: Vec<(String, Vec<String>)>,
}

/// The client identities: file, common name, groups.
const CLIENTS: &[(&str, &str, &[&str])] = &[
    ("admin", "kubernetes-admin", &["system:masters"]),
    ("controller-manager", "system:kube-controller-manager", &[]),
    ("scheduler", "system:kube-scheduler", &[]),
    ("kube-proxy", "system:kube-proxy", &["system:node-proxier"]),
];

/// Makes everything that is missing.
pub fn create(options: &Options) -> Result<(), Error> {
    let pki = options.home.join("pki");
    let ca = authority(&pki.join("ca"), "kubernetes")?;
    let front_proxy = authority(&pki.join("front-proxy-ca"), "front-proxy-ca")?;
    let etcd = authority(&pki.join("etcd/ca"), "etcd-ca")?;
    let local = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];

    leaf(&ca, &pki.join("apiserver"), &wanted("kube-apiserver", &options.apiserver_hosts, Usage::Server), &[])?;
    leaf(
        &ca,
        &pki.join("apiserver-kubelet-client"),
        &wanted("kube-apiserver-kubelet-client", &[], Usage::Client),
        &["kubeadm:cluster-admins", "system:masters"],
    )?;
    leaf(&front_proxy, &pki.join("front-proxy-client"), &wanted("front-proxy-client", &[], Usage::Client), &[])?;
    leaf(&etcd, &pki.join("etcd/server"), &wanted("etcd", &local, Usage::Both), &[])?;
    leaf(&etcd, &pki.join("apiserver-etcd-client"), &wanted("kube-apiserver-etcd-client", &[], Usage::Client), &[])?;
    leaf(&ca, &pki.join("kube-controller-manager"), &wanted("kube-controller-manager", &local, Usage::Server), &[])?;
    leaf(&ca, &pki.join("kube-scheduler"), &wanted("kube-scheduler", &local, Usage::Server), &[])?;

    for (file, user, groups) in CLIENTS {
        let issued = leaf(&ca, &pki.join(file), &wanted(user, &[], Usage::Client), groups)?;
        kubeconfig(&options.home.join(format!("{file}.kubeconfig")), &options.server, &ca, user, &issued)?;
    }
    for (node, hosts) in &options.nodes {
        let user = format!("system:node:{node}");
        let mut names = hosts.clone();
        names.push(node.clone());
        names.extend(local.iter().cloned());
        let client =
            leaf(&ca, &pki.join(format!("kubelet-{node}")), &wanted(&user, &[], Usage::Client), &["system:nodes"])?;
        leaf(
            &ca,
            &pki.join(format!("kubelet-{node}-server")),
            &wanted(&user, &names, Usage::Server),
            &["system:nodes"],
        )?;
        kubeconfig(&options.home.join(format!("kubelet-{node}.kubeconfig")), &options.server, &ca, &user, &client)?;
    }
    let token_key = pki.join("sa.key");
    if !token_key.exists() {
        // RSA, as kubeadm makes it: whoever checks tokens can do that.
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
        files::write_private(&token_key, key.serialize_pem().as_bytes())?;
        files::write_public(&pki.join("sa.pub"), key.public_key_pem().as_bytes())?;
    }
    Ok(())
}

struct Wanted {
    common_name: String,
    hosts: Vec<String>,
    usage: Usage,
}

fn wanted(common_name: &str, hosts: &[String], usage: Usage) -> Wanted {
    Wanted { common_name: common_name.to_owned(), hosts: hosts.to_vec(), usage }
}

fn authority(base: &Path, name: &str) -> Result<Authority, Error> {
    let (certificate, key) = files::pair(base);
    if certificate.exists() && key.exists() {
        return Authority::read(&certificate, &key);
    }
    let ca = Authority::create(name)?;
    ca.issued().write(base)?;
    Ok(ca)
}

/// Serving certificates are made anew each time, since a machine's names change; client certificates are kept.
fn leaf(ca: &Authority, base: &Path, wanted: &Wanted, groups: &[&str]) -> Result<Issued, Error> {
    let (certificate, key) = files::pair(base);
    if wanted.hosts.is_empty() && certificate.exists() && key.exists() {
        let text = |p: &Path| files::read(p).map(|b| String::from_utf8_lossy(&b).into_owned());
        return Ok(Issued { certificate: text(&certificate)?, key: text(&key)? });
    }
    let request = Request {
        common_name: &wanted.common_name,
        organizations: groups,
        hosts: &wanted.hosts,
        usage: wanted.usage,
        days: 365,
    };
    let issued = ca.issue(&request)?;
    issued.write(base)?;
    Ok(issued)
}

fn kubeconfig(path: &Path, server: &str, ca: &Authority, user: &str, client: &Issued) -> Result<(), Error> {
    let b64 = |s: &str| STANDARD.encode(s);
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: kubernetes\n  cluster:\n    certificate-authority-data: {}\n    \
         server: {server}\ncontexts:\n- name: {user}@kubernetes\n  context:\n    cluster: kubernetes\n    user: {user}\n\
         current-context: {user}@kubernetes\npreferences: {{}}\nusers:\n- name: {user}\n  user:\n    \
         client-certificate-data: {}\n    client-key-data: {}\n",
        b64(ca.certificate()),
        b64(&client.certificate),
        b64(&client.key),
    );
    files::write_private(path, text.as_bytes())
}
