//! An informer's cache: objects by key, and indexes over them.

use std::sync::Arc;

use ahash::{HashMap, HashSet};
use parking_lot::RwLock;

use crate::{Object, ObjectKey};

type IndexFn<K> = Arc<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    name: &'static str,
    values_of: IndexFn<K>,
    keys: HashMap<String, HashSet<ObjectKey>>,
}

struct Inner<K> {
    objects: HashMap<ObjectKey, Arc<K>>,
    indexes: Vec<Index<K>>,
}

/// A shared, read-only view of an informer's cache; cheap to clone. What it holds may lag behind the apiserver.
pub struct Store<K> {
    inner: Arc<RwLock<Inner<K>>>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K: Object> Default for Store<K> {
    fn default() -> Self {
        Self { inner: Arc::new(RwLock::new(Inner { objects: HashMap::default(), indexes: Vec::new() })) }
    }
}

impl<K: Object> Store<K> {
    /// An empty store, to be filled by hand: for tests of code that reads one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The object with this key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.inner.read().objects.get(key).cloned()
    }

    /// The object `name` in `namespace` (empty for cluster-scoped types).
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// All objects, in no order. Costs as much as there are objects: prefer an index.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.inner.read().objects.values().cloned().collect()
    }

    /// All keys, in no order.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.inner.read().objects.keys().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.inner.read().objects.len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects for which the index function `index` gave `value`, in no order; none if there is no such index.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let inner = self.inner.read();
        let Some(keys) = inner.indexes.iter().find(|i| i.name == index).and_then(|i| i.keys.get(value)) else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| inner.objects.get(key).cloned()).collect()
    }

    /// How many objects [`Store::by_index`] would return.
    pub fn count_by_index(&self, index: &str, value: &str) -> usize {
        let inner = self.inner.read();
        inner.indexes.iter().find(|i| i.name == index).and_then(|i| i.keys.get(value)).map_or(0, HashSet::len)
    }

    /// The values of an index that have objects.
    pub fn index_values(&self, index: &str) -> Vec<String> {
        let inner = self.inner.read();
        inner.indexes.iter().find(|i| i.name == index).map_or(Vec::new(), |i| i.keys.keys().cloned().collect())
    }

    /// Adds an index unless one of that name exists; may be called at any time.
    pub fn add_index(&self, name: &'static str, values_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        let mut inner = self.inner.write();
        if inner.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut index = Index { name, values_of: Arc::new(values_of), keys: HashMap::default() };
        for (key, object) in &inner.objects {
            index.insert(key, object);
        }
        inner.indexes.push(index);
    }

    /// Stores an object and returns the one that it replaces.
    pub fn insert(&self, object: Arc<K>) -> Option<Arc<K>> {
        let mut inner = self.inner.write();
        let Inner { objects, indexes } = &mut *inner;
        let key = object.key();
        let old = objects.insert(key.clone(), object.clone());
        for index in indexes {
            index.replace(&key, old.as_deref(), &object);
        }
        old
    }

    /// Removes an object and returns it.
    pub fn remove(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let mut inner = self.inner.write();
        let Inner { objects, indexes } = &mut *inner;
        let old = objects.remove(key)?;
        for index in indexes {
            index.remove(key, &old);
        }
        Some(old)
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values_of)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values_of)(object) {
            self.remove_value(key, &value);
        }
    }

    fn remove_value(&mut self, key: &ObjectKey, value: &str) {
        if let Some(keys) = self.keys.get_mut(value) {
            keys.remove(key);
            if keys.is_empty() {
                self.keys.remove(value);
            }
        }
    }

    fn replace(&mut self, key: &ObjectKey, old: Option<&K>, new: &K) {
        let new_values = (self.values_of)(new);
        if let Some(old) = old {
            for value in (self.values_of)(old) {
                if !new_values.contains(&value) {
                    self.remove_value(key, &value);
                }
            }
        }
        for value in new_values {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use steersman_api::k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, color: &str) -> Arc<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.labels = Some([("color".to_owned(), color.to_owned())].into());
        Arc::new(object)
    }

    #[test]
    fn indexes_follow_changes() {
        let store = Store::<ConfigMap>::new();
        store.insert(object("a", "red"));
        store.add_index("color", |o| o.labels().get("color").cloned().into_iter().collect());
        store.insert(object("b", "red"));
        let names = |color: &str| {
            let mut names: Vec<_> = store.by_index("color", color).iter().map(|o| o.name().to_owned()).collect();
            names.sort();
            names.join(",")
        };
        assert_eq!(names("red"), "a,b");
        store.insert(object("a", "blue"));
        assert_eq!((names("red"), names("blue")), ("b".to_owned(), "a".to_owned()));
        store.remove(&"b".into());
        assert_eq!(store.index_values("color"), ["blue"]);
        assert_eq!(names("none"), "");
    }
}
