//! Authorisers without rules of their own, and the chain of them that `--authorization-mode` names.

use crate::{Attributes, Authorizer, Decision, Rules, UserInfo};
use async_trait::async_trait;
use serde_json::json;

/// Asks each in turn; the first that has an opinion decides. Members of `system:masters` may do everything.
pub struct Union(Vec<Box<dyn Authorizer>>);

impl Union {
    /// In the order they are asked.
    pub fn new(members: Vec<Box<dyn Authorizer>>) -> Self {
        Self(members)
    }
}

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, a: &Attributes<'_>) -> (Decision, String) {
        if a.user.is_privileged() {
            return (Decision::Allow, String::new());
        }
        let mut reasons = Vec::new();
        for member in &self.0 {
            let (decision, reason) = member.authorize(a).await;
            if decision != Decision::NoOpinion {
                return (decision, reason);
            }
            if !reason.is_empty() {
                reasons.push(reason);
            }
        }
        (Decision::NoOpinion, reasons.join("\n"))
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut all = Rules::default();
        if user.is_privileged() {
            all = everything();
        }
        for member in &self.0 {
            let rules = member.rules_for(user, namespace).await;
            all.resource.extend(rules.resource);
            all.non_resource.extend(rules.non_resource);
            all.incomplete |= rules.incomplete;
            if !rules.error.is_empty() {
                all.error = if all.error.is_empty() { rules.error } else { format!("{}, {}", all.error, rules.error) };
            }
        }
        all
    }
}

fn everything() -> Rules {
    Rules {
        resource: vec![json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] })],
        non_resource: vec![json!({ "verbs": ["*"], "nonResourceURLs": ["*"] })],
        ..Rules::default()
    }
}

/// Says yes to everything.
#[derive(Debug)]
pub struct AlwaysAllow;

#[async_trait]
impl Authorizer for AlwaysAllow {
    async fn authorize(&self, _: &Attributes<'_>) -> (Decision, String) {
        (Decision::Allow, String::new())
    }
    async fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
        everything()
    }
}

/// Says no to everything.
#[derive(Debug)]
pub struct AlwaysDeny;

#[async_trait]
impl Authorizer for AlwaysDeny {
    async fn authorize(&self, _: &Attributes<'_>) -> (Decision, String) {
        (Decision::NoOpinion, "Everything is forbidden.".into())
    }
    async fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::default()
    }
}
