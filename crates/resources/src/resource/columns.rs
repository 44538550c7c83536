//! The columns of this group's Tables; names and descriptions are part of the API (rule: `pkg/printers/internalversion`).

use crate::common::{AGE, NAME, column};
use steersman_registry::Column;

/// Columns of `deviceclasses`.
pub(super) const DEVICECLASSES: &[Column] = &[NAME, AGE];

/// Columns of `resourceclaims`.
pub(super) const RESOURCECLAIMS: &[Column] =
    &[NAME, column("State", "string", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE];

/// Columns of `resourceclaimtemplates`.
pub(super) const RESOURCECLAIMTEMPLATES: &[Column] = &[NAME, AGE];

/// Columns of `resourceslices`.
pub(super) const RESOURCESLICES: &[Column] = &[
    NAME,
    column(
        "Node",
        "string",
        "NodeName identifies the node which provides the resources in this pool. A field selector can be used to list only ResourceSlice objects belonging to a certain node.\n\nThis field can be used to limit access from nodes to ResourceSlices with the same node name. It also indicates to autoscalers that adding new nodes of the same type as some old node might also make new resources available.\n\nExactly one of NodeName, NodeSelector, AllNodes, and PerDeviceNodeSelection must be set. This field is immutable.",
    ),
    column(
        "Driver",
        "string",
        "Driver identifies the DRA driver providing the capacity information. A field selector can be used to list only ResourceSlice objects with a certain driver name.\n\nMust be a DNS subdomain and should end with a DNS domain owned by the vendor of the driver. It should use only lower case characters. This field is immutable.",
    ),
    column(
        "Pool",
        "string",
        "Name is used to identify the pool. For node-local devices, this is often the node name, but this is not required.\n\nIt must not be longer than 253 characters and must consist of one or more DNS sub-domains separated by slashes. This field is immutable.",
    ),
    AGE,
];
