//! The graph of owners and dependants (rule: `garbagecollector/graph_builder.go`).

use std::sync::Arc;

use ahash::{HashMap, HashSet};
use steersman_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::Uid;
use crate::discovery::Resource;

/// Where an object is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its resource; `None` while only a reference to it is known.
    pub resource: Option<Arc<Resource>>,
    /// For references: the API version and kind that they name.
    pub api_version: Arc<str>,
    pub kind: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// A reference to an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: Uid,
    pub api_version: Arc<str>,
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub blocks: bool,
}

impl From<&OwnerReference> for Owner {
    fn from(reference: &OwnerReference) -> Self {
        Self {
            uid: reference.uid.as_str().into(),
            api_version: reference.api_version.as_str().into(),
            kind: reference.kind.as_str().into(),
            name: reference.name.as_str().into(),
            blocks: reference.block_owner_deletion == Some(true),
        }
    }
}

/// What a watch tells about an object.
#[derive(Clone, Debug)]
pub struct Observed {
    pub identity: Identity,
    pub owners: Vec<Owner>,
    pub deleting: bool,
    /// Being deleted with the finalizer `foregroundDeletion`.
    pub foreground: bool,
    /// Being deleted with the finalizer `orphan`.
    pub orphaning: bool,
}

#[derive(Debug)]
pub struct Node {
    pub identity: Identity,
    pub owners: Vec<Owner>,
    pub dependants: HashSet<Uid>,
    pub deleting: bool,
    /// Waits for its dependants to be deleted.
    pub foreground: bool,
    orphaning: bool,
    /// Known only from references to it.
    pub is_virtual: bool,
}

/// What must be looked at after a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Todo {
    /// Objects that may be garbage, or owners that may be let go.
    pub check: Vec<Uid>,
    /// Owners whose dependants must be set free.
    pub orphan: Vec<Uid>,
}

/// The graph.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
}

impl Graph {
    pub fn get(&self, uid: &Uid) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// An object was added or has changed.
    pub fn observe(&mut self, uid: &Uid, observed: Observed) -> Todo {
        let mut todo = Todo::default();
        let namespace = observed.identity.namespace.clone();
        let (old_owners, was_foreground, was_orphaning) = match self.nodes.get_mut(uid) {
            Some(node) => {
                let before = (std::mem::take(&mut node.owners), node.foreground, node.orphaning);
                node.identity = observed.identity;
                node.owners = observed.owners.clone();
                node.deleting = observed.deleting;
                node.foreground = observed.foreground;
                node.orphaning = observed.orphaning;
                node.is_virtual = false;
                before
            }
            None => {
                let node = Node {
                    identity: observed.identity,
                    owners: observed.owners.clone(),
                    dependants: HashSet::default(),
                    deleting: observed.deleting,
                    foreground: observed.foreground,
                    orphaning: observed.orphaning,
                    is_virtual: false,
                };
                self.nodes.insert(uid.clone(), node);
                (Vec::new(), false, false)
            }
        };
        for owner in observed.owners.iter().filter(|new| !old_owners.iter().any(|old| old.uid == new.uid)) {
            self.link(uid, owner, &namespace, &mut todo);
        }
        for old in &old_owners {
            let new = observed.owners.iter().find(|new| new.uid == old.uid);
            if new.is_none() {
                self.unlink(uid, &old.uid);
            }
            // An owner that waited for this dependant may not have to wait any more.
            if old.blocks
                && new.is_none_or(|new| !new.blocks)
                && self.nodes.get(&old.uid).is_some_and(|owner| owner.foreground)
            {
                todo.check.push(old.uid.clone());
            }
        }
        if !old_owners.is_empty() && observed.owners != old_owners && !observed.owners.is_empty() {
            todo.check.push(uid.clone());
        }
        if observed.orphaning && !was_orphaning {
            todo.orphan.push(uid.clone());
        }
        if observed.foreground && !was_foreground {
            todo.check.extend(self.nodes.get(uid).into_iter().flat_map(|node| node.dependants.iter().cloned()));
            todo.check.push(uid.clone());
        }
        todo
    }

    /// An object is gone.
    pub fn forget(&mut self, uid: &Uid) -> Todo {
        let mut todo = Todo::default();
        let Some(node) = self.nodes.remove(uid) else { return todo };
        for owner in &node.owners {
            self.unlink(uid, &owner.uid);
            if self.nodes.get(&owner.uid).is_some_and(|owner| owner.foreground) {
                todo.check.push(owner.uid.clone());
            }
        }
        todo.check.extend(node.dependants);
        todo
    }

    /// Connects a dependant with its owner, who may not be known yet: then somebody must find out whether it exists.
    fn link(&mut self, uid: &Uid, owner: &Owner, namespace: &Arc<str>, todo: &mut Todo) {
        let node = self.nodes.entry(owner.uid.clone()).or_insert_with(|| {
            todo.check.push(owner.uid.clone());
            Node {
                identity: Identity {
                    resource: None,
                    api_version: owner.api_version.clone(),
                    kind: owner.kind.clone(),
                    namespace: namespace.clone(),
                    name: owner.name.clone(),
                },
                owners: Vec::new(),
                dependants: HashSet::default(),
                deleting: false,
                foreground: false,
                orphaning: false,
                is_virtual: true,
            }
        });
        node.dependants.insert(uid.clone());
        // A new dependant of an owner that is waiting must go, too.
        if node.foreground {
            todo.check.push(uid.clone());
        }
    }

    fn unlink(&mut self, uid: &Uid, owner: &Uid) {
        if let Some(node) = self.nodes.get_mut(owner) {
            node.dependants.remove(uid);
            if node.is_virtual && node.dependants.is_empty() {
                self.nodes.remove(owner);
            }
        }
    }

    /// The dependants that keep a foreground deletion of `uid` waiting.
    pub fn blocking(&self, uid: &Uid) -> Vec<Uid> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let blocks = |dependant: &&Uid| {
            let owners = self.nodes.get(*dependant).map(|node| node.owners.as_slice()).unwrap_or_default();
            owners.iter().any(|owner| owner.uid == *uid && owner.blocks)
        };
        node.dependants.iter().filter(blocks).cloned().collect()
    }

    /// Whether a dependant of `uid` itself waits for its dependants: both would wait for ever in a circle.
    pub fn has_waiting_dependant(&self, uid: &Uid) -> bool {
        let Some(node) = self.nodes.get(uid) else { return false };
        node.dependants.iter().any(|dependant| self.nodes.get(dependant).is_some_and(|node| node.foreground))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(owners: &[(&str, bool)], foreground: bool, orphaning: bool) -> Observed {
        let text = Arc::<str>::from("x");
        Observed {
            identity: Identity {
                resource: None,
                api_version: text.clone(),
                kind: text.clone(),
                namespace: text.clone(),
                name: text.clone(),
            },
            owners: owners
                .iter()
                .map(|(uid, blocks)| Owner {
                    uid: (*uid).into(),
                    api_version: text.clone(),
                    kind: text.clone(),
                    name: text.clone(),
                    blocks: *blocks,
                })
                .collect(),
            deleting: foreground || orphaning,
            foreground,
            orphaning,
        }
    }

    fn names(mut uids: Vec<Uid>) -> String {
        uids.sort();
        uids.join(",")
    }

    #[test]
    fn unknown_owners_are_checked_and_lost_ones_release_dependants() {
        let mut graph = Graph::default();
        let uid = Uid::from;
        assert_eq!(names(graph.observe(&uid("pod"), observed(&[("set", true)], false, false)).check), "set");
        assert!(graph.get(&uid("set")).unwrap().is_virtual);
        assert_eq!(graph.observe(&uid("set"), observed(&[], false, false)), Todo::default());
        assert_eq!(names(graph.forget(&uid("set")).check), "pod");
    }

    #[test]
    fn foreground_deletion_waits_for_blocking_dependants() {
        let mut graph = Graph::default();
        let uid = Uid::from;
        graph.observe(&uid("set"), observed(&[], false, false));
        graph.observe(&uid("a"), observed(&[("set", true)], false, false));
        graph.observe(&uid("b"), observed(&[("set", false)], false, false));
        assert_eq!(names(graph.observe(&uid("set"), observed(&[], true, false)).check), "a,b,set");
        assert_eq!(names(graph.blocking(&uid("set"))), "a");
        assert_eq!(names(graph.forget(&uid("a")).check), "set");
        assert_eq!(names(graph.blocking(&uid("set"))), "");
        assert_eq!(names(graph.observe(&uid("late"), observed(&[("set", true)], false, false)).check), "late");
    }

    #[test]
    fn orphaning_is_noticed_once() {
        let mut graph = Graph::default();
        let uid = Uid::from;
        assert_eq!(names(graph.observe(&uid("set"), observed(&[], false, true)).orphan), "set");
        assert_eq!(names(graph.observe(&uid("set"), observed(&[], false, true)).orphan), "");
    }
}
