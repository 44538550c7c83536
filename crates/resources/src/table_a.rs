//! The table of the resources of this half: pods, workloads and what serves them.

use crate::{apps, autoscaling, batch, coordination, core, discovery, events, node, policy, scheduling};
use steersman_registry::Resource;

/// One line per resource.
pub static TABLE_A: &[Resource] = &[
    Resource::Stored(&core::pods::Pods),
    Resource::Stored(&core::podtemplates::PodTemplates),
    Resource::Stored(&core::replicationcontrollers::ReplicationControllers),
    Resource::Stored(&core::endpoints::Endpoints),
    Resource::Virtual(&core::pods::binding::Bindings),
    Resource::Stored(&events::core::Events),
    Resource::Stored(&events::groups::Events),
    Resource::Stored(&apps::controllerrevisions::ControllerRevisions),
    Resource::Stored(&apps::daemonsets::DaemonSets),
    Resource::Stored(&apps::deployments::Deployments),
    Resource::Stored(&apps::replicasets::ReplicaSets),
    Resource::Stored(&apps::statefulsets::StatefulSets),
    Resource::Stored(&autoscaling::v2::HorizontalPodAutoscalers),
    Resource::Stored(&autoscaling::v1::HorizontalPodAutoscalers),
    Resource::Stored(&batch::cronjobs::CronJobs),
    Resource::Stored(&batch::jobs::Jobs),
    Resource::Stored(&coordination::leases::Leases),
    Resource::Stored(&discovery::endpointslices::EndpointSlices),
    Resource::Stored(&node::runtimeclasses::RuntimeClasses),
    Resource::Stored(&policy::poddisruptionbudgets::PodDisruptionBudgets),
    Resource::Stored(&scheduling::priorityclasses::PriorityClasses),
];
