//! The cluster as the scheduler believes it to be: what informers have shown, and pods that it has given a node but of
//! which no informer knows yet ("assumed").
//!
//! The scheduling loop is the only owner, so a snapshot is a reference: nothing is copied or locked for a cycle.

use crate::groups::{Groups, ZONE};
use crate::node::{ImageId, NodeInfo};
use crate::pod::{Labels, PodInfo};
use crate::snapshot::{Selectors, Snapshot};
use crate::volumes::Volumes;
use ahash::{AHashMap, AHashSet};
use std::sync::Arc;
use steersman_apimachinery::selector::LabelSelector;

const REGION: &str = "topology.kubernetes.io/region";

/// The state.
#[derive(Debug, Default)]
pub struct Cache {
    snapshot: Snapshot,
    /// Uid of a pod → the node it is on.
    pods: AHashMap<String, Arc<str>>,
    assumed: AHashSet<String>,
    /// Pods on nodes that are not known (any more), by node.
    elsewhere: AHashMap<Arc<str>, NodeInfo>,
    /// Nodes came or went: their order is to be made anew.
    disordered: bool,
}

impl Cache {
    /// The cluster as it is now.
    pub fn snapshot(&mut self) -> &Snapshot {
        if std::mem::take(&mut self.disordered) {
            self.order();
        }
        &self.snapshot
    }

    /// The cluster without bringing its nodes into order.
    pub fn peek(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How many pods have nodes, and how many of those are assumed.
    pub fn sizes(&self) -> (usize, usize) {
        (self.pods.len(), self.assumed.len())
    }

    // ---- nodes

    /// A node is new or has changed. Returns what it was before.
    pub fn set_node(&mut self, node: &NodeInfo) -> Option<NodeInfo> {
        if let Some(index) = self.snapshot.by_name.get(&node.name).copied() {
            let known = Arc::make_mut(&mut self.snapshot.nodes[index]);
            let before = NodeInfo { pods: Vec::new(), ports: Vec::new(), ..known.clone() };
            known.take_facts(node);
            count_images(&mut self.snapshot, &before.images, &node.images);
            self.disordered |= zone(&before) != zone(node);
            if before.label(ZONE) != node.label(ZONE) {
                self.snapshot.groups = Arc::new(Groups::new(&self.snapshot.nodes));
            }
            return Some(before);
        }
        let mut info = self.elsewhere.remove(node.name.as_str()).unwrap_or_default();
        info.take_facts(node);
        count_images(&mut self.snapshot, &[], &node.images);
        self.snapshot.with_affinity += usize::from(info.with_affinity > 0);
        self.snapshot.with_anti_affinity += usize::from(info.with_anti_affinity > 0);
        let groups = Arc::make_mut(&mut self.snapshot.groups);
        info.pods.iter().for_each(|p| groups.add(p, info.label(ZONE).unwrap_or("")));
        Arc::make_mut(&mut self.snapshot.by_name).insert(info.name.clone(), self.snapshot.nodes.len());
        self.snapshot.nodes.push(Arc::new(info));
        self.disordered = true;
        None
    }

    /// A node is gone; pods on it stay known.
    pub fn remove_node(&mut self, name: &str) -> Option<Arc<NodeInfo>> {
        let by_name = Arc::make_mut(&mut self.snapshot.by_name);
        let index = by_name.remove(name)?;
        let gone = self.snapshot.nodes.swap_remove(index);
        if let Some(moved) = self.snapshot.nodes.get(index) {
            by_name.insert(moved.name.clone(), index);
        }
        self.disordered = true;
        count_images(&mut self.snapshot, &gone.images, &[]);
        self.snapshot.with_affinity -= usize::from(gone.with_affinity > 0);
        self.snapshot.with_anti_affinity -= usize::from(gone.with_anti_affinity > 0);
        let groups = Arc::make_mut(&mut self.snapshot.groups);
        gone.pods.iter().for_each(|p| groups.remove(p, gone.label(ZONE).unwrap_or("")));
        if !gone.pods.is_empty() {
            let mut rest = NodeInfo::default();
            gone.pods.iter().for_each(|p| rest.add(p.clone()));
            self.elsewhere.insert(name.into(), rest);
        }
        Some(gone)
    }

    /// Nodes of one zone do not follow each other, so that looking at a part of the nodes looks into every zone.
    fn order(&mut self) {
        let mut zones: Vec<Vec<Arc<NodeInfo>>> = Vec::new();
        let mut places: AHashMap<String, usize> = AHashMap::new();
        for node in std::mem::take(&mut self.snapshot.nodes) {
            let place = *places.entry(zone(&node)).or_insert(zones.len());
            if place == zones.len() {
                zones.push(Vec::new());
            }
            zones[place].push(node);
        }
        let longest = zones.iter().map(Vec::len).max().unwrap_or(0);
        let mut zones: Vec<_> = zones.into_iter().map(Vec::into_iter).collect();
        for _ in 0..longest {
            self.snapshot.nodes.extend(zones.iter_mut().filter_map(Iterator::next));
        }
        let names = self.snapshot.nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), i));
        self.snapshot.by_name = Arc::new(names.collect());
    }

    // ---- pods

    /// A pod with a node is new or has changed. If it was assumed, it is now known to be there.
    /// Returns what was known of it, unless it was only assumed.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) -> Option<Arc<PodInfo>> {
        let assumed = self.assumed.remove(&pod.uid);
        let node: Arc<str> = pod.node_name.as_str().into();
        self.place(pod, node).filter(|_| !assumed)
    }

    /// A pod is about to be bound to `node`: it counts there from now on.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.assumed.insert(pod.uid.clone());
        self.place(pod, node.into());
    }

    /// The pod was not bound after all.
    pub fn forget(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        if self.assumed.remove(uid) { self.take(uid) } else { None }
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.assumed.remove(uid);
        self.take(uid)
    }

    /// Whether the pod has a node, as far as is known or assumed.
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: Arc<str>) -> Option<Arc<PodInfo>> {
        let before = self.take(&pod.uid);
        let uid = pod.uid.clone();
        self.with_node(&node, |info, groups| {
            groups.add(&pod, info.label(ZONE).unwrap_or(""));
            info.add(pod);
        });
        self.pods.insert(uid, node);
        before
    }

    fn take(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let node = self.pods.remove(uid)?;
        let pod = self.with_node(&node, |info, groups| {
            let pod = info.remove(uid)?;
            groups.remove(&pod, info.label(ZONE).unwrap_or(""));
            Some(pod)
        });
        if self.elsewhere.get(&node).is_some_and(|n| n.pods.is_empty()) {
            self.elsewhere.remove(&node);
        }
        pod
    }

    /// Changes the pods of a node.
    fn with_node<R>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut NodeInfo, &mut Groups) -> R) -> R {
        let Some(index) = self.snapshot.by_name.get(&**name).copied() else {
            // Pods of nodes that are not known are in no group.
            return change(self.elsewhere.entry(name.clone()).or_default(), &mut Groups::default());
        };
        let info = Arc::make_mut(&mut self.snapshot.nodes[index]);
        let before = (info.with_affinity > 0, info.with_anti_affinity > 0);
        let out = change(info, Arc::make_mut(&mut self.snapshot.groups));
        let after = (info.with_affinity > 0, info.with_anti_affinity > 0);
        let count = |at: &mut usize, before: bool, after: bool| *at = *at + usize::from(after) - usize::from(before);
        count(&mut self.snapshot.with_affinity, before.0, after.0);
        count(&mut self.snapshot.with_anti_affinity, before.1, after.1);
        out
    }

    // ---- nominated pods

    /// Room was made for a pod on a node; an empty name takes that back.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        let known = self.snapshot.nominated.values().flatten().find(|p| p.uid == pod.uid);
        if known.is_none() && node.is_empty() {
            return;
        }
        let nominated = Arc::make_mut(&mut self.snapshot.nominated);
        nominated.retain(|_, pods| {
            pods.retain(|p| p.uid != pod.uid);
            !pods.is_empty()
        });
        if !node.is_empty() {
            nominated.entry(node.to_owned()).or_default().push(pod.clone());
        }
    }

    /// The node on which room was made for a pod.
    pub fn nominated(&self, uid: &str) -> Option<&str> {
        let holds = |(_, pods): &(&String, &Vec<Arc<PodInfo>>)| pods.iter().any(|p| p.uid == uid);
        self.snapshot.nominated.iter().find(holds).map(|(node, _)| node.as_str())
    }

    // ---- the rest

    /// The labels of a namespace; `None`: it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        let namespaces = Arc::make_mut(&mut self.snapshot.namespaces);
        match labels {
            Some(labels) => drop(namespaces.insert(name.to_owned(), labels)),
            None => drop(namespaces.remove(name)),
        }
    }

    /// A service's selector before and now.
    pub fn set_service(&mut self, namespace: &str, old: Option<&Labels>, new: Option<Labels>) {
        let services = &mut self.selectors().services;
        let list = services.entry(namespace.to_owned()).or_default();
        if let Some(at) = old.and_then(|old| list.iter().position(|s| s == old)) {
            list.swap_remove(at);
        }
        list.extend(new);
        if list.is_empty() {
            services.remove(namespace);
        }
    }

    /// The selector of an owner of pods, by `<kind>/<namespace>/<name>`; `None`: it is gone.
    pub fn set_owner(&mut self, key: String, selector: Option<Arc<LabelSelector>>) {
        let owners = &mut self.selectors().owners;
        match selector {
            Some(selector) => drop(owners.insert(key, selector)),
            None => drop(owners.remove(&key)),
        }
    }

    /// Claims, volumes and classes, to be changed.
    pub fn volumes(&mut self) -> &mut Volumes {
        Arc::make_mut(&mut self.snapshot.volumes)
    }

    fn selectors(&mut self) -> &mut Selectors {
        Arc::make_mut(&mut self.snapshot.selectors)
    }
}

fn zone(node: &NodeInfo) -> String {
    format!("{}/{}", node.label(REGION).unwrap_or(""), node.label(ZONE).unwrap_or(""))
}

/// An image keeps the size that the first node told, while any node has it. Both lists are sorted.
fn count_images(snapshot: &mut Snapshot, old: &[(ImageId, i64)], new: &[(ImageId, i64)]) {
    let missing = |id: ImageId, list: &[(ImageId, i64)]| list.binary_search_by_key(&id, |(i, _)| *i).is_err();
    let gone: Vec<ImageId> = old.iter().map(|(id, _)| *id).filter(|id| missing(*id, new)).collect();
    let came: Vec<(ImageId, i64)> = new.iter().filter(|(id, _)| missing(*id, old)).copied().collect();
    if gone.is_empty() && came.is_empty() {
        return;
    }
    let images = Arc::make_mut(&mut snapshot.images);
    for id in gone {
        if let Some(state) = images.get_mut(&id) {
            state.1 -= 1;
            if state.1 == 0 {
                images.remove(&id);
            }
        }
    }
    for (id, bytes) in came {
        images.entry(id).or_insert((bytes, 0)).1 += 1;
    }
}

#[cfg(test)]
mod tests;
