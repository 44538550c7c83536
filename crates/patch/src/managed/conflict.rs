//! Conflicts: fields that others own and an apply would change.

use super::entries::Entry;
use crate::fieldset::FieldSet;
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::status::{Cause, Details};
use steersman_apimachinery::{Reason, Status};

/// What of one manager an apply would change.
#[derive(Debug)]
pub(super) struct Conflict {
    pub manager: Entry,
    pub fields: FieldSet,
}

/// The 409 that lists every field, manager by manager.
pub(super) fn status(mut conflicts: Vec<Conflict>) -> Status {
    conflicts.sort_by(|a, b| a.manager.identity().cmp(&b.manager.identity()));
    let named: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|c| (describe(&c.manager), c.fields.paths())).collect();
    let causes: Vec<Cause> = named
        .iter()
        .flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path)))
        .map(|(manager, path)| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {manager}"),
            field: path.clone(),
        })
        .collect();
    let message = if let [one] = &causes[..] {
        format!("Apply failed with 1 conflict: {}: {}", one.message, one.field)
    } else {
        let parts: Vec<String> = named
            .iter()
            .map(|(manager, paths)| format!("conflicts with {manager}:\n- {}", paths.join("\n- ")))
            .collect();
        format!("Apply failed with {} conflicts: {}", causes.len(), parts.join("\n"))
    };
    Status::failure(409, Reason::Conflict, message).with_details(Details { causes, ..Details::default() })
}

/// A manager as messages name it: `"kubectl" with subresource "scale" using apps/v1`.
fn describe(m: &Entry) -> String {
    let mut out = go_quote(&m.manager);
    if !m.subresource.is_empty() {
        out += &format!(" with subresource {}", go_quote(&m.subresource));
    }
    if !m.applied {
        out += &format!(" using {}", m.api_version);
    }
    out
}
