//! An ordered map of entries whose snapshots cost nothing: chunks of shared pointers, copied only when written while a
//! snapshot is held.

use crate::Entry;
use std::sync::Arc;

/// A chunk is split when it grows beyond this. 128 pointers copy in about a microsecond.
const SPLIT: usize = 128;
/// Neighbours are joined when both together stay below this.
const JOIN: usize = 48;

type Chunk = Arc<Vec<Arc<Entry>>>;

/// Entries ordered by key. Cloning takes a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    chunks: Arc<Vec<Chunk>>,
    len: usize,
}

impl Tree {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The chunk that holds `key` or would: the last that begins at or before it.
    fn chunk_of(&self, key: &str) -> usize {
        self.chunks.partition_point(|c| c.first().is_some_and(|e| &*e.key <= key)).saturating_sub(1)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        chunk.binary_search_by(|e| (*e.key).cmp(key)).ok().map(|i| &chunk[i])
    }

    /// Puts an entry in and returns the one it replaces.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let at = self.chunk_of(&entry.key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[at]);
        match chunk.binary_search_by(|e| e.key.cmp(&entry.key)) {
            Ok(i) => Some(std::mem::replace(&mut chunk[i], entry)),
            Err(i) => {
                let appending = i == chunk.len();
                chunk.insert(i, entry);
                self.len += 1;
                if chunk.len() > SPLIT {
                    // Names that grow at the end fill chunks whole instead of leaving halves behind.
                    let upper = chunk.split_off(if appending { SPLIT } else { SPLIT / 2 });
                    chunks.insert(at + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        let at = self.chunk_of(key);
        let i = self.chunks.get(at)?.binary_search_by(|e| (*e.key).cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        let gone = chunk.remove(i);
        let left = chunk.len();
        self.len -= 1;
        if left == 0 {
            chunks.remove(at);
        } else if at + 1 < chunks.len() && left + chunks[at + 1].len() < JOIN {
            let upper = chunks.remove(at + 1);
            Arc::make_mut(&mut chunks[at]).extend(upper.iter().cloned());
        }
        Some(gone)
    }

    /// Where the first entry at or after `key` is.
    fn position(&self, key: &str) -> (usize, usize) {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get(at) else { return (0, 0) };
        let i = chunk.partition_point(|e| &*e.key < key);
        if i == chunk.len() { (at + 1, 0) } else { (at, i) }
    }

    /// Number of entries at or after `start` whose keys begin with `prefix`.
    pub(crate) fn count_from(&self, start: &str, prefix: &str) -> usize {
        let end = match end_of(prefix) {
            None => (self.chunks.len(), 0),
            Some(end) => self.position(&end),
        };
        let begin = self.position(start.max(prefix));
        if begin >= end {
            return 0;
        }
        let rank = |(c, i): (usize, usize)| self.chunks[..c].iter().map(|c| c.len()).sum::<usize>() + i;
        rank(end) - rank(begin)
    }

    /// The entries at or after `start` whose keys begin with `prefix`, from a snapshot of their own.
    pub(crate) fn range(&self, start: &str, prefix: &str) -> Range {
        let (chunk, index) = self.position(start.max(prefix));
        Range { chunks: self.chunks.clone(), chunk, index, prefix: prefix.into() }
    }
}

/// The smallest string above all that begin with `prefix`; `None` where there is no such bound.
fn end_of(prefix: &str) -> Option<String> {
    // Prefixes are empty or end in `/`, whose successor is `0`.
    let head = prefix.strip_suffix('/')?;
    Some(format!("{head}0"))
}

/// Walks a snapshot.
pub(crate) struct Range {
    chunks: Arc<Vec<Chunk>>,
    chunk: usize,
    index: usize,
    prefix: Box<str>,
}

impl Iterator for Range {
    type Item = Arc<Entry>;
    fn next(&mut self) -> Option<Arc<Entry>> {
        let chunk = self.chunks.get(self.chunk)?;
        let entry = chunk.get(self.index)?;
        if !entry.key.starts_with(&*self.prefix) {
            return None;
        }
        self.index += 1;
        if self.index == chunk.len() {
            self.chunk += 1;
            self.index = 0;
        }
        Some(entry.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn entry(key: &str, revision: u64) -> Arc<Entry> {
        Arc::new(Entry {
            key: key.into(),
            bytes: Default::default(),
            body: 0,
            revision,
            attributes: Default::default(),
        })
    }

    #[test]
    fn behaves_as_an_ordered_map_and_snapshots_stand_still() {
        let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
        let mut seed = 7u64;
        let mut snapshots = Vec::new();
        for step in 0..20_000u64 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let n = (seed >> 33) % 900;
            let key = format!("ns{}/p{n:04}", n % 7);
            if (seed >> 20) % 5 < 3 {
                assert_eq!(tree.insert(entry(&key, step)).map(|e| e.revision), model.insert(key, step));
            } else {
                assert_eq!(tree.remove(&key).map(|e| e.revision), model.remove(&key));
            }
            if step % 2_500 == 0 {
                snapshots.push((tree.clone(), model.clone()));
            }
        }
        snapshots.push((tree, model));
        for (tree, model) in snapshots {
            assert_eq!(tree.len(), model.len());
            let all: Vec<_> = tree.range("", "").map(|e| (e.key.to_string(), e.revision)).collect();
            assert_eq!(all, model.iter().map(|(k, v)| (k.clone(), *v)).collect::<Vec<_>>());
            for (start, prefix) in
                [("", "ns3/"), ("ns3/p0400", "ns3/"), ("ns9/", "ns3/"), ("ns4/p0", ""), ("a", "ns0/")]
            {
                let want: Vec<_> = model.keys().filter(|k| k.starts_with(prefix) && k.as_str() >= start).collect();
                assert_eq!(
                    tree.range(start, prefix).map(|e| e.key.to_string()).collect::<Vec<_>>().iter().collect::<Vec<_>>(),
                    want
                );
                assert_eq!(tree.count_from(start, prefix), want.len(), "{start} {prefix}");
            }
            assert_eq!(tree.get("ns3/nothing").map(|e| e.revision), None);
        }
    }
}
