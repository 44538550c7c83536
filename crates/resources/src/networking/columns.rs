//! The columns of this group's Tables; names and descriptions are part of the API (rule: `pkg/printers/internalversion`).

use crate::common::{AGE, NAME, column};
use steersman_registry::Column;

/// Columns of `ingresses`.
pub(super) const INGRESSES: &[Column] = &[
    NAME,
    column("Class", "string", "The name of the IngressClass resource that should be used for additional configuration"),
    column("Hosts", "string", "Hosts that incoming requests are matched against before the ingress rule"),
    column("Address", "string", "Address is a list containing ingress points for the load-balancer"),
    column("Ports", "string", "Ports of TLS configurations that open"),
    AGE,
];

/// Columns of `ingressclasses`.
pub(super) const INGRESSCLASSES: &[Column] = &[
    NAME,
    column("Controller", "string", "Controller that is responsible for handling this class"),
    column("Parameters", "string", "A reference to a resource with additional parameters"),
    AGE,
];

/// Columns of `networkpolicies`.
pub(super) const NETWORKPOLICIES: &[Column] = &[
    NAME,
    column(
        "Pod-Selector",
        "string",
        "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
    ),
    AGE,
];

/// Columns of `ipaddresses`.
pub(super) const IPADDRESSES: &[Column] = &[
    NAME,
    column(
        "ParentRef",
        "string",
        "ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
    ),
    AGE,
];

/// Columns of `servicecidrs`.
pub(super) const SERVICECIDRS: &[Column] = &[
    NAME,
    column(
        "CIDRs",
        "string",
        "CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable.",
    ),
    AGE,
];
