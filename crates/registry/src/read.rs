//! GET and LIST (rule: apiserver `pkg/storage/cacher`, `pkg/storage/etcd3/store.go`).

use crate::object::{Items, List, Object};
use crate::select::{self, Selection};
use crate::store::Store;
use crate::{errors, token};
use std::sync::Arc;
use std::time::Duration;
use steersman_apimachinery::Status;
use steersman_apimachinery::options::{GetOptions, ListOptions, VersionMatch};
use steersman_storage::{Entry, Listed};

/// How long a request waits for the cache to reach a revision (rule: `cacher` blockTimeout).
pub(crate) const CATCH_UP: Duration = Duration::from_secs(3);
/// How long a request waits for the cache to be filled at all.
pub(crate) const LOADING: Duration = Duration::from_secs(10);

/// At which revision a list is taken.
enum At {
    /// All that was written before the request.
    Newest,
    /// Whatever is cached.
    Any,
    /// At least this revision.
    NotOlder(u64),
    /// Just this revision.
    Exact(u64),
}

impl Store {
    /// One entry, as fresh as asked for.
    pub(crate) async fn entry(&self, key: &str, resource_version: &str) -> Result<Option<Arc<Entry>>, Status> {
        let version = token::parse_version(resource_version).map_err(errors::plain)?;
        if resource_version.is_empty() {
            if !self.storage.catch_up(CATCH_UP).await.map_err(errors::storage)? {
                return self.storage.get(&self.cache, key).await.map_err(errors::storage);
            }
        } else {
            self.reach(version).await?;
        }
        Ok(self.cache.get(key))
    }

    /// Waits until the cache is at least at a revision (0: is there at all).
    pub(crate) async fn reach(&self, version: u64) -> Result<(), Status> {
        self.ready().await?;
        if self.storage.wait_for(version, CATCH_UP).await {
            Ok(())
        } else {
            Err(errors::too_new(version, self.storage.applied()))
        }
    }

    /// Waits until the cache is filled.
    pub(crate) async fn ready(&self) -> Result<(), Status> {
        if self.storage.wait_loaded(LOADING).await {
            Ok(())
        } else {
            Err(Status::too_many_requests("storage is (re)initializing", 1))
        }
    }

    /// GET of one object.
    pub(crate) async fn read(&self, namespace: &str, name: &str, options: &GetOptions) -> Result<Object, Status> {
        let key = self.key(namespace, name)?;
        match self.entry(&key, &options.resource_version).await? {
            Some(entry) => self.shape.object(&entry),
            None => Err(self.not_found(name)),
        }
    }

    /// LIST.
    pub(crate) async fn read_list(&self, namespace: &str, options: &ListOptions) -> Result<List, Status> {
        let (selection, listed, paged) = self.listed(namespace, options).await?;
        let mut continue_token = String::new();
        let mut remaining_item_count = None;
        if let Some(last) = &listed.cut_after {
            let prefix = list_prefix(&selection, namespace);
            continue_token =
                token::encode(last.strip_prefix(prefix.as_str()).unwrap_or(last), paged.then_some(listed.revision));
            if selection.everything {
                remaining_item_count = i64::try_from(listed.remaining).ok();
            }
        }
        let shape = self.shape;
        let items = listed.entries.filter_map(move |e| {
            shape
                .object(&e)
                .inspect_err(|err| tracing::error!(key = &*e.key, error = %err, "an object cannot be listed"))
                .ok()
        });
        Ok(List { items: Items::new(items), revision: listed.revision, continue_token, remaining_item_count })
    }

    /// The entries of a list; the last says whether a continue token shall stay at the list's revision.
    pub(crate) async fn listed(
        &self,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<(Selection, Listed, bool), Status> {
        select::check(self.strategy, &options.field_selector)?;
        let selection = select::selection(
            self.strategy,
            self.cache.index(),
            namespace,
            &options.label_selector,
            &options.field_selector,
        );
        let mut limit = usize::try_from(options.limit).unwrap_or(0);
        let mut start = String::new();
        // The order of the checks is that of `storage.ValidateListOptions`.
        let at = if !options.continue_token.is_empty() {
            let t = token::decode(&options.continue_token)?;
            if !matches!(options.resource_version.as_str(), "" | "0") {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            start = list_prefix(&selection, namespace) + &t.start;
            t.revision.map_or(At::Newest, At::Exact)
        } else if options.resource_version.is_empty() {
            At::Newest
        } else {
            let version = token::parse_version(&options.resource_version)
                .map_err(|e| Status::bad_request(format!("invalid resource version: {e}")))?;
            // A list of one named object has no pages, so that its limit does not bind it to the version.
            let pages = limit > 0 && !matches!(selection.scope, steersman_storage::Scope::Key(_));
            match options.resource_version_match {
                VersionMatch::Exact => At::Exact(version),
                VersionMatch::NotOlderThan if version > 0 => At::NotOlder(version),
                VersionMatch::Unset if version > 0 && pages => At::Exact(version),
                VersionMatch::Unset if version > 0 => At::NotOlder(version),
                _ => {
                    // Any cached state is as good as any other, so there is nothing that a continue token could name.
                    limit = 0;
                    At::Any
                }
            }
        };
        let paged = !matches!(&at, At::Newest) || options.continue_token.is_empty();
        let exact = match at {
            At::Newest => {
                if !self.storage.catch_up(CATCH_UP).await.map_err(errors::storage)? {
                    let listed = self.past_cache(&selection, &start, limit, 0, options).await?;
                    return Ok((selection, listed, paged));
                }
                None
            }
            At::Any => {
                self.ready().await?;
                None
            }
            At::NotOlder(v) => {
                self.reach(v).await?;
                None
            }
            At::Exact(v) => {
                self.reach(v).await?;
                Some(v)
            }
        };
        let cached = self.cache.list(
            &selection.scope,
            &start,
            limit,
            selection.filter.clone(),
            selection.indexed.as_deref(),
            exact,
        );
        let listed = match cached {
            Some(listed) => listed,
            None => self.past_cache(&selection, &start, limit, exact.unwrap_or(0), options).await?,
        };
        Ok((selection, listed, paged))
    }

    /// A list past the cache: at a revision that is not kept any more, or while the cache does not follow.
    async fn past_cache(
        &self,
        selection: &Selection,
        start: &str,
        limit: usize,
        at: u64,
        options: &ListOptions,
    ) -> Result<Listed, Status> {
        let (mut entries, mut start, mut at) = (Vec::new(), start.to_owned(), at);
        loop {
            let page = i64::try_from(limit.min(500)).unwrap_or(0);
            let read = self.storage.range(&self.cache, &selection.scope, &start, page, at).await;
            let (found, revision, rest) = read.map_err(|e| match e {
                steersman_storage::Error::Compacted if !options.continue_token.is_empty() => {
                    inconsistent(&options.continue_token)
                }
                e => errors::storage(e),
            })?;
            at = revision;
            let last = found.last().map(|e| e.key.clone());
            for (i, entry) in found.iter().enumerate() {
                if selection.filter.as_ref().is_none_or(|f| f.selects(&entry.key, &entry.attributes)) {
                    entries.push(entry.clone());
                    if entries.len() == limit {
                        let remaining = usize::try_from(rest).unwrap_or(0) + found.len() - i - 1;
                        let cut_after = (remaining > 0).then(|| entry.key.clone());
                        return Ok(Listed { entries: Box::new(entries.into_iter()), revision, cut_after, remaining });
                    }
                }
            }
            match last {
                Some(last) if rest > 0 => start = format!("{last}\0"),
                _ => {
                    return Ok(Listed {
                        entries: Box::new(entries.into_iter()),
                        revision,
                        cut_after: None,
                        remaining: 0,
                    });
                }
            }
        }
    }
}

/// What the keys of a list begin with, as its continue tokens leave it out.
fn list_prefix(selection: &Selection, namespace: &str) -> String {
    match &selection.scope {
        steersman_storage::Scope::Namespace(ns) if !namespace.is_empty() => format!("{ns}/"),
        _ => String::new(),
    }
}

/// 410 for a continue token whose revision is gone, with one that goes on with what is there now
/// (rule: `etcd3/errors.go`).
fn inconsistent(continue_token: &str) -> Status {
    let Ok(t) = token::decode(continue_token) else { return errors::expired_list() };
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = token::encode(t.start.trim_end_matches('\0'), None);
    status
}
