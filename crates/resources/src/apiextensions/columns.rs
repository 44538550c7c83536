//! The columns of this group's Tables; names and descriptions are part of the API (rule: `pkg/printers/internalversion`).

use crate::common::{CREATED_AT, NAME};
use steersman_registry::Column;

/// Columns of `customresourcedefinitions`.
pub(super) const CUSTOMRESOURCEDEFINITIONS: &[Column] = &[NAME, CREATED_AT];
