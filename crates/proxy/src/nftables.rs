//! The nftables back-end: one table of ours for each address family, changed by transactions of differences.
//!
//! At start the whole table is replaced in one transaction, so a restart leaves no gap and no leftovers. If a transaction
//! is refused (somebody else changed our table) the next one replaces the whole table again.

use crate::rules::Fragment;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// The table's name, as upstream's.
const TABLE: &str = "kube-proxy";

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `nft` could not be run.
    #[error("nft cannot be run: {0}")]
    Run(#[from] std::io::Error),
    /// `nft` refused a transaction.
    #[error("nft refused the transaction: {0}")]
    Refused(String),
}

/// Takes transactions; a trait so that tests need no kernel.
#[async_trait::async_trait]
pub trait Nft: Send + Sync {
    /// Runs a script as one transaction.
    async fn run(&self, script: String) -> Result<(), Error>;
}

/// The program `nft`.
#[derive(Debug)]
pub struct Program;

#[async_trait::async_trait]
impl Nft for Program {
    async fn run(&self, script: String) -> Result<(), Error> {
        let mut child = tokio::process::Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // nft reads everything before it writes errors, so the pipes cannot wait for each other.
        stdin.write_all(script.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(Error::Refused(text.lines().next().unwrap_or("").to_owned()))
    }
}

/// Address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
    fn address(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }
}

/// The table of one family: what is in the kernel, by service.
pub struct Table {
    family: Family,
    node_port_addresses: Vec<String>,
    applied: BTreeMap<String, Fragment>,
    /// Whether the kernel holds exactly `applied`.
    trusted: bool,
}

impl Table {
    /// Nothing is applied yet; the first [`Table::sync`] replaces whatever is there.
    pub fn new(family: Family, node_port_addresses: Vec<String>) -> Self {
        Self { family, node_port_addresses, applied: BTreeMap::new(), trusted: false }
    }

    /// Whether no service has rules in it.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty()
    }

    /// Brings the kernel to hold these fragments for these services (`None`: nothing any more).
    pub async fn sync(&mut self, nft: &dyn Nft, changes: BTreeMap<String, Option<Fragment>>) -> Result<(), Error> {
        if !self.trusted {
            self.adopt(changes);
            nft.run(self.whole()).await?;
            self.trusted = true;
            return Ok(());
        }
        let script = self.difference(&changes);
        self.adopt(changes);
        if script.is_empty() {
            return Ok(());
        }
        if let Err(e) = nft.run(script).await {
            tracing::warn!(error = %e, "replacing the whole table");
            self.trusted = false;
            nft.run(self.whole()).await?;
            self.trusted = true;
        }
        Ok(())
    }

    fn adopt(&mut self, changes: BTreeMap<String, Option<Fragment>>) {
        for (service, fragment) in changes {
            match fragment {
                Some(f) => self.applied.insert(service, f),
                None => self.applied.remove(&service),
            };
        }
    }

    /// A script that replaces the table.
    fn whole(&self) -> String {
        let t = format!("{} {TABLE}", self.family.name());
        let mut out = format!("add table {t}\ndelete table {t}\nadd table {t}\n");
        out.push_str(&self.skeleton());
        let fragments: Vec<&Fragment> = self.applied.values().collect();
        add_chains_and_sets(
            &mut out,
            &t,
            fragments.iter().flat_map(|f| f.chains.keys()),
            fragments.iter().flat_map(|f| &f.sets),
        );
        for (chain, rules) in fragments.iter().flat_map(|f| &f.chains) {
            add_rules(&mut out, &t, chain, rules);
        }
        add_elements(&mut out, &t, fragments.iter().flat_map(|f| &f.elements));
        out
    }

    /// What every table holds, whatever the services (hooks and priorities as upstream's).
    fn skeleton(&self) -> String {
        let (f, a) = (self.family.name(), self.family.address());
        let reject = if self.family == Family::V4 { "icmp type" } else { "icmpv6 type" };
        let unreachable = if self.family == Family::V4 { "host-unreachable" } else { "addr-unreachable" };
        let loopback = if self.family == Family::V4 { "127.0.0.0/8" } else { "::1" };
        let node_ports = if self.node_port_addresses.is_empty() {
            String::new()
        } else {
            format!("elements = {{ {} }};", self.node_port_addresses.join(", "))
        };
        format!(
            r"table {f} {TABLE} {{
  set cluster-ips {{ type {a}; }}
  set nodeport-ips {{ type {a}; {node_ports} }}
  map service-ips {{ type {a} . inet_proto . inet_service : verdict; }}
  map service-nodeports {{ type inet_proto . inet_service : verdict; }}
  map no-endpoint-services {{ type {a} . inet_proto . inet_service : verdict; }}
  map no-endpoint-nodeports {{ type inet_proto . inet_service : verdict; }}
  map firewall-ips {{ type {a} . inet_proto . inet_service : verdict; }}
  chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}
  chain reject-chain {{ reject; }}
  chain services {{
    {f} daddr . meta l4proto . th dport vmap @service-ips
    {f} daddr @nodeport-ips {f} daddr != {loopback} meta l4proto . th dport vmap @service-nodeports
  }}
  chain service-endpoints-check {{
    {f} daddr . meta l4proto . th dport vmap @no-endpoint-services
    {f} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }}
  chain cluster-ips-check {{
    {f} daddr @cluster-ips reject with {reject} {unreachable}
  }}
  chain firewall-check {{ {f} daddr . meta l4proto . th dport vmap @firewall-ips; }}
  chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority 100;
    meta mark & 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }}
  chain filter-prerouting {{ type filter hook prerouting priority -110; ct state new jump firewall-check; }}
  chain filter-input {{ type filter hook input priority -110; ct state new jump service-endpoints-check; }}
  chain filter-forward {{ type filter hook forward priority -110;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }}
  chain filter-output {{ type filter hook output priority -110; ct state new jump firewall-check; }}
  chain filter-output-post-dnat {{ type filter hook output priority -90;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }}
}}
"
        )
    }

    /// A script that leads from what is applied to what `changes` say. Elements lead to chains and chains to sets, so:
    /// make chains and sets, fill chains, swap elements, then empty and delete chains, then sets.
    fn difference(&self, changes: &BTreeMap<String, Option<Fragment>>) -> String {
        let t = format!("{} {TABLE}", self.family.name());
        let empty = Fragment::default();
        let pairs: Vec<(&Fragment, &Fragment)> = changes
            .iter()
            .map(|(service, new)| (self.applied.get(service).unwrap_or(&empty), new.as_ref().unwrap_or(&empty)))
            .filter(|(old, new)| old != new)
            .collect();
        let mut out = String::new();
        for (old, new) in &pairs {
            let fresh = new.chains.keys().filter(|c| !old.chains.contains_key(*c));
            add_chains_and_sets(&mut out, &t, fresh, new.sets.iter().filter(|(s, d)| old.sets.get(*s) != Some(d)));
        }
        for (old, new) in &pairs {
            for (chain, rules) in &new.chains {
                match old.chains.get(chain) {
                    Some(have) if have == rules => continue,
                    Some(_) => _ = writeln!(out, "flush chain {t} {chain}"),
                    None => {}
                }
                add_rules(&mut out, &t, chain, rules);
            }
        }
        for (old, new) in &pairs {
            for ((map, key), verdict) in old.elements.iter().filter(|(k, v)| new.elements.get(*k) != Some(v)) {
                let tail = if verdict.is_empty() { String::new() } else { format!(" : {verdict}") };
                let _ = writeln!(out, "delete element {t} {map} {{ {key}{tail} }}");
            }
        }
        for (old, new) in &pairs {
            add_elements(&mut out, &t, new.elements.iter().filter(|(k, v)| old.elements.get(*k) != Some(v)));
        }
        let gone = || pairs.iter().flat_map(|(old, new)| old.chains.keys().filter(|c| !new.chains.contains_key(*c)));
        for chain in gone() {
            let _ = writeln!(out, "flush chain {t} {chain}");
        }
        for chain in gone() {
            let _ = writeln!(out, "delete chain {t} {chain}");
        }
        for (old, new) in &pairs {
            for set in old.sets.keys().filter(|s| !new.sets.contains_key(*s)) {
                let _ = writeln!(out, "delete set {t} {set}");
            }
        }
        out
    }
}

fn add_chains_and_sets<'a>(
    out: &mut String,
    table: &str,
    chains: impl Iterator<Item = &'a String>,
    sets: impl Iterator<Item = (&'a String, &'a String)>,
) {
    for (set, definition) in sets {
        let _ = writeln!(out, "add set {table} {set} {{ {definition} }}");
    }
    for chain in chains {
        let _ = writeln!(out, "add chain {table} {chain}");
    }
}

fn add_rules(out: &mut String, table: &str, chain: &str, rules: &[String]) {
    for rule in rules {
        let _ = writeln!(out, "add rule {table} {chain} {rule}");
    }
}

fn add_elements<'a>(
    out: &mut String,
    table: &str,
    elements: impl Iterator<Item = (&'a (&'static str, String), &'a String)>,
) {
    for ((map, key), verdict) in elements {
        let tail = if verdict.is_empty() { String::new() } else { format!(" : {verdict}") };
        let _ = writeln!(out, "add element {table} {map} {{ {key}{tail} }}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Recorder {
        scripts: Mutex<Vec<String>>,
        refuse: Mutex<bool>,
    }

    #[async_trait::async_trait]
    impl Nft for Recorder {
        async fn run(&self, script: String) -> Result<(), Error> {
            self.scripts.lock().expect("lock").push(script);
            if std::mem::take(&mut *self.refuse.lock().expect("lock")) {
                Err(Error::Refused("busy".into()))
            } else {
                Ok(())
            }
        }
    }

    fn fragment(chains: &[(&str, &str)], elements: &[(&str, &str)]) -> Fragment {
        Fragment {
            chains: chains.iter().map(|(c, r)| (c.to_string(), vec![r.to_string()])).collect(),
            sets: BTreeMap::new(),
            elements: elements.iter().map(|(k, v)| (("service-ips", k.to_string()), v.to_string())).collect(),
        }
    }

    #[tokio::test]
    async fn only_differences_are_written() {
        let nft = Recorder::default();
        let mut table = Table::new(Family::V4, vec!["10.0.0.1".into()]);
        let one = fragment(&[("a", "r1"), ("b", "r2")], &[("k", "goto a")]);
        table.sync(&nft, BTreeMap::from([("s".into(), Some(one.clone()))])).await.expect("syncs");
        assert!(nft.scripts.lock().expect("lock")[0].contains("delete table ip kube-proxy"));
        table.sync(&nft, BTreeMap::from([("s".into(), Some(one))])).await.expect("syncs");
        assert_eq!(nft.scripts.lock().expect("lock").len(), 1, "nothing changed, nothing is written");
        let two = fragment(&[("a", "r1"), ("c", "r3")], &[("k", "goto c")]);
        table.sync(&nft, BTreeMap::from([("s".into(), Some(two))])).await.expect("syncs");
        let want = "add chain ip kube-proxy c\nadd rule ip kube-proxy c r3\ndelete element ip kube-proxy service-ips { k : goto a }\n\
                    add element ip kube-proxy service-ips { k : goto c }\nflush chain ip kube-proxy b\ndelete chain ip kube-proxy b\n";
        assert_eq!(nft.scripts.lock().expect("lock")[1], want);
    }

    #[tokio::test]
    async fn a_refused_transaction_is_followed_by_a_whole_table() {
        let nft = Recorder::default();
        let mut table = Table::new(Family::V4, vec![]);
        table.sync(&nft, BTreeMap::new()).await.expect("syncs");
        *nft.refuse.lock().expect("lock") = true;
        table.sync(&nft, BTreeMap::from([("s".into(), Some(fragment(&[("a", "r1")], &[])))])).await.expect("syncs");
        let scripts = nft.scripts.lock().expect("lock");
        assert!(
            scripts.len() == 3
                && scripts[2].contains("delete table")
                && scripts[2].contains("add rule ip kube-proxy a r1")
        );
    }
}
