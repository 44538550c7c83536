//! The API types the kubelet works with, under short names.

pub use steersman_api::k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec, TokenReview, TokenReviewSpec},
        authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        coordination::v1::{Lease, LeaseSpec},
        core::v1::*,
        node::v1::RuntimeClass,
    },
    apimachinery::pkg::{
        api::resource::Quantity as ApiQuantity,
        apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time},
        util::intstr::IntOrString,
    },
};
pub use steersman_apimachinery::Quantity;

/// Reads a quantity; what is no quantity counts as nothing.
pub fn quantity(text: &ApiQuantity) -> Quantity {
    text.0.parse().unwrap_or_else(|_| Quantity::new(0, steersman_apimachinery::quantity::Format::DecimalSI))
}
