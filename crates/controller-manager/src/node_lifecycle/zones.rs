//! How fast nodes may be emptied: in a zone with many failures the network is the more likely culprit
//! (rule: `nodelifecycle`'s `handleDisruption`, `ComputeZoneState`).

use std::time::Duration;

use ahash::HashMap;
use steersman_api::k8s_openapi::api::core::v1::Node;
use steersman_client::Object;
use tokio::time::Instant;

/// Whether a node may be emptied now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Evict,
    /// Not yet: ask again after this time.
    Wait(Duration),
    /// Not while nothing, or too much, is down.
    Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Normal,
    Partial,
    Full,
}

#[derive(Debug, Default)]
struct Zone {
    ready: usize,
    not_ready: usize,
    /// When the next node may be emptied.
    next: Option<Instant>,
}

/// All zones, and the zone and readiness of each node.
#[derive(Debug)]
pub struct Zones {
    rate: f64,
    secondary_rate: f64,
    threshold: f64,
    large: usize,
    zones: HashMap<String, Zone>,
    nodes: HashMap<String, (String, bool)>,
}

impl Zones {
    /// With upstream's flags: evictions per second, the rate of a half-broken large zone, the share of nodes that makes
    /// a zone half-broken, and the size from which a zone is large.
    pub fn new(rate: f64, secondary_rate: f64, threshold: f64, large: usize) -> Self {
        Self { rate, secondary_rate, threshold, large, zones: HashMap::default(), nodes: HashMap::default() }
    }

    /// Notes a node's state; whether with it the first node of all became ready again.
    pub fn observe(&mut self, node: &Node, ready: bool) -> bool {
        let label = |name: &str| node.labels().get(name).map_or("", String::as_str);
        let zone = format!("{}:\0:{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"));
        let were_down = self.all_are_down();
        self.forget(node.name());
        let entry = self.zones.entry(zone.clone()).or_default();
        *(if ready { &mut entry.ready } else { &mut entry.not_ready }) += 1;
        self.nodes.insert(node.name().to_owned(), (zone, ready));
        were_down && ready
    }

    /// The node is gone.
    pub fn forget(&mut self, node: &str) {
        if let Some((zone, ready)) = self.nodes.remove(node)
            && let Some(entry) = self.zones.get_mut(&zone)
        {
            *(if ready { &mut entry.ready } else { &mut entry.not_ready }) -= 1;
        }
    }

    fn state(&self, zone: &Zone) -> State {
        let total = (zone.ready + zone.not_ready) as f64;
        if zone.ready == 0 && zone.not_ready > 0 {
            State::Full
        } else if zone.not_ready > 2 && zone.not_ready as f64 / total >= self.threshold {
            State::Partial
        } else {
            State::Normal
        }
    }

    /// Whether no node is ready in any zone.
    pub fn all_are_down(&self) -> bool {
        let mut known = self.zones.values().filter(|zone| zone.ready + zone.not_ready > 0).peekable();
        known.peek().is_some() && known.all(|zone| self.state(zone) == State::Full)
    }

    /// Asks to empty a node; a yes counts against its zone's rate.
    pub fn ask(&mut self, node: &str, now: Instant) -> Verdict {
        if self.all_are_down() {
            return Verdict::Hold;
        }
        let Some((name, _)) = self.nodes.get(node) else { return Verdict::Hold };
        let Some(zone) = self.zones.get(name) else { return Verdict::Hold };
        let large = zone.ready + zone.not_ready > self.large;
        let rate = match self.state(zone) {
            State::Partial if large => self.secondary_rate,
            State::Partial => 0.0,
            State::Normal | State::Full => self.rate,
        };
        if rate <= 0.0 {
            // Ask again: the zone may recover without this node changing.
            return Verdict::Wait(Duration::from_secs(5));
        }
        match zone.next {
            Some(next) if next > now => Verdict::Wait(next - now),
            _ => {
                let next = now + Duration::from_secs_f64(1.0 / rate);
                self.zones.entry(name.clone()).and_modify(|zone| zone.next = Some(next));
                Verdict::Evict
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_depend_on_what_is_left() {
        let now = Instant::now();
        let mut zones = Zones::new(0.1, 0.01, 0.55, 50);
        let set = |zones: &mut Zones, name: &str, ready| {
            let mut node = Node::default();
            node.metadata.name = Some(name.to_owned());
            zones.observe(&node, ready)
        };
        set(&mut zones, "a", false);
        assert_eq!(zones.ask("a", now), Verdict::Hold, "nothing is ready");
        assert!(set(&mut zones, "b", true), "the first that is ready");
        assert_eq!(zones.ask("a", now), Verdict::Evict);
        set(&mut zones, "c", false);
        assert_eq!(zones.ask("c", now), Verdict::Wait(Duration::from_secs(10)));
        assert_eq!(zones.ask("c", now + Duration::from_secs(10)), Verdict::Evict);
        set(&mut zones, "d", false);
        assert_eq!(zones.ask("d", now + Duration::from_secs(60)), Verdict::Wait(Duration::from_secs(5)), "half-broken");
    }
}
