//! `/healthz`, `/livez` and `/readyz` in upstream's form (rule: apiserver `pkg/server/healthz`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// Says whether something is well; the error says why not.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Which of the three endpoints a check belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Endpoint {
    Healthz,
    Livez,
    Readyz,
}

impl Endpoint {
    /// `healthz`, `livez` or `readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
    /// Which endpoint a path such as `/readyz/etcd` means, and the rest of it.
    pub fn of_path(path: &str) -> Option<(Self, &str)> {
        for e in [Self::Healthz, Self::Livez, Self::Readyz] {
            if let Some(rest) = path.strip_prefix('/').and_then(|p| p.strip_prefix(e.name())) {
                if rest.is_empty() {
                    return Some((e, ""));
                }
                if let Some(check) = rest.strip_prefix('/') {
                    return Some((e, check));
                }
            }
        }
        None
    }
}

struct Named {
    name: String,
    endpoints: Vec<Endpoint>,
    check: Check,
    /// How it went so far, at each of the endpoints.
    seen: [Seen; 3],
}

/// How often a check passed and failed, and which came last.
#[derive(Default)]
struct Seen {
    passed: AtomicU64,
    failed: AtomicU64,
    last: AtomicBool,
}

/// How a check went at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Results {
    pub name: String,
    pub endpoint: &'static str,
    pub passed: u64,
    pub failed: u64,
    /// Whether it passed last.
    pub well: bool,
}

impl Named {
    fn run(&self, endpoint: Endpoint) -> Result<(), String> {
        let result = (self.check)();
        let seen = &self.seen[endpoint as usize];
        let count = if result.is_ok() { &seen.passed } else { &seen.failed };
        count.fetch_add(1, Ordering::Relaxed);
        seen.last.store(result.is_ok(), Ordering::Relaxed);
        result
    }
}

/// A component's checks, in the order they were added.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<RwLock<Vec<Named>>>,
}

/// An answer: HTTP status, body.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, 404 or 500.
    pub status: u16,
    /// Plain text.
    pub body: String,
}

impl Health {
    /// With the check `ping`, which always passes.
    pub fn new() -> Self {
        let health = Self::default();
        health.add("ping", &[Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz], Arc::new(|| Ok(())));
        health
    }
    /// Adds a check.
    pub fn add(&self, name: &str, endpoints: &[Endpoint], check: Check) {
        let named = Named { name: name.to_owned(), endpoints: endpoints.to_vec(), check, seen: Default::default() };
        self.checks.write().unwrap_or_else(std::sync::PoisonError::into_inner).push(named);
    }
    /// A check that passes once [`Gate::open`] was called.
    pub fn gate(&self, name: &str, endpoints: &[Endpoint]) -> Gate {
        let gate = Gate::default();
        let open = gate.0.clone();
        let check: Check =
            Arc::new(move || if open.load(Ordering::Acquire) { Ok(()) } else { Err("not finished".into()) });
        self.add(name, endpoints, check);
        gate
    }
    /// The names of an endpoint's checks.
    pub fn names(&self, endpoint: Endpoint) -> Vec<String> {
        let checks = self.checks.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        checks.iter().filter(|c| c.endpoints.contains(&endpoint)).map(|c| c.name.clone()).collect()
    }
    /// How the checks went that were asked for so far, sorted.
    pub fn results(&self) -> Vec<Results> {
        let checks = self.checks.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of = |c: &Named, endpoint: Endpoint| {
            let seen = &c.seen[endpoint as usize];
            Results {
                name: c.name.clone(),
                endpoint: endpoint.name(),
                passed: seen.passed.load(Ordering::Relaxed),
                failed: seen.failed.load(Ordering::Relaxed),
                well: seen.last.load(Ordering::Relaxed),
            }
        };
        let all = [Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz];
        let mut results: Vec<_> = checks.iter().flat_map(|c| all.map(|e| of(c, e))).collect();
        results.retain(|r| r.passed + r.failed > 0);
        results.sort();
        results
    }
    /// Answers `/<endpoint>` (empty `single`) or `/<endpoint>/<single>`, with the query's `verbose` and `exclude`s.
    pub fn answer(&self, endpoint: Endpoint, single: &str, verbose: bool, exclude: &[String]) -> Answer {
        let checks = self.checks.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mine: Vec<&Named> = checks.iter().filter(|c| c.endpoints.contains(&endpoint)).collect();
        if !single.is_empty() {
            return match mine.iter().find(|c| c.name == single) {
                None => Answer { status: 404, body: "404 page not found\n".into() },
                Some(c) => match c.run(endpoint) {
                    Ok(()) => Answer { status: 200, body: "ok".into() },
                    Err(e) => Answer { status: 500, body: format!("internal server error: {e}\n") },
                },
            };
        }
        let (mut body, mut failed) = (String::new(), false);
        for c in &mine {
            if exclude.contains(&c.name) {
                body.push_str(&format!("[+]{} excluded: ok\n", c.name));
                continue;
            }
            match c.run(endpoint) {
                Ok(()) => body.push_str(&format!("[+]{} ok\n", c.name)),
                Err(e) => {
                    failed = true;
                    tracing::debug!(check = c.name, error = e, "health check failed");
                    body.push_str(&format!("[-]{} failed: reason withheld\n", c.name));
                }
            }
        }
        let unknown: Vec<String> =
            exclude.iter().filter(|x| !mine.iter().any(|c| &c.name == *x)).map(|x| format!("{x:?}")).collect();
        if !unknown.is_empty() {
            body.push_str(&format!(
                "warn: some health checks cannot be excluded: no matches for {}\n",
                unknown.join(",")
            ));
        }
        let name = endpoint.name();
        if failed {
            Answer { status: 500, body: format!("{body}{name} check failed\n") }
        } else if verbose {
            Answer { status: 200, body: format!("{body}{name} check passed\n") }
        } else {
            Answer { status: 200, body: "ok".into() }
        }
    }
}

/// Opens a check made by [`Health::gate`].
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// From now on the check passes.
    pub fn open(&self) {
        self.0.store(true, Ordering::Release);
    }
    /// From now on the check fails again.
    pub fn close(&self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_upstreams() {
        let h = Health::new();
        let gate = h.gate("etcd", &[Endpoint::Readyz]);
        assert_eq!(h.answer(Endpoint::Livez, "", false, &[]).body, "ok");
        let a = h.answer(Endpoint::Readyz, "", false, &[]);
        assert_eq!(
            (a.status, a.body.as_str()),
            (500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")
        );
        assert_eq!(h.answer(Endpoint::Readyz, "", false, &["etcd".into()]).status, 200);
        gate.open();
        assert_eq!(h.answer(Endpoint::Readyz, "", true, &[]).body, "[+]ping ok\n[+]etcd ok\nreadyz check passed\n");
        assert_eq!(h.answer(Endpoint::Readyz, "nope", false, &[]).status, 404);
    }

    #[test]
    fn paths() {
        assert_eq!(Endpoint::of_path("/readyz/etcd"), Some((Endpoint::Readyz, "etcd")));
        assert_eq!(Endpoint::of_path("/livez"), Some((Endpoint::Livez, "")));
        assert_eq!(Endpoint::of_path("/livezx"), None);
    }
}
