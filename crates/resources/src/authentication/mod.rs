//! `authentication.k8s.io`: reviews that are computed and not kept.

pub mod selfsubjectreviews;
pub mod tokenreviews;

use serde_json::{Map, Value};
use steersman_auth::UserInfo;

/// The group's name.
pub(crate) const GROUP: &str = "authentication.k8s.io";

/// A user as reviews show it; what is empty is left out.
fn user_info(user: &UserInfo) -> Value {
    let mut m = Map::new();
    for (key, value) in [("username", &user.name), ("uid", &user.uid)] {
        if !value.is_empty() {
            m.insert(key.into(), value.as_str().into());
        }
    }
    if !user.groups.is_empty() {
        m.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        let extra: Map<String, Value> = user.extra.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        m.insert("extra".into(), extra.into());
    }
    Value::Object(m)
}
