//! Says whether ServiceCIDRs are ready, and keeps those that addresses depend on
//! (rule: `pkg/controller/servicecidrs`).

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::json;
use steersman_api::k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use steersman_client::{Action, Client, Event, Object, ObjectKey, Patch, Result, Store, WorkQueue};

use crate::{
    context::{Context, Run},
    volume,
};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Before a range goes, apiservers get time to see that it is going and to stop allocating from it.
const GRACE: Duration = Duration::from_secs(10);

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let ranges = context.informers.get::<ServiceCIDR>();
    let addresses = context.informers.get::<IPAddress>();
    let queue = WorkQueue::<ObjectKey>::new();
    ranges.add_handler({
        let (queue, ranges) = (queue.clone(), ranges.store().clone());
        move |event| {
            queue.add(event.object().key());
            // Others that overlap may become the only ones for some addresses.
            if event.object().is_deleting() || matches!(event, Event::Deleted { .. }) {
                ranges.keys().into_iter().for_each(|key| queue.add(key));
            }
        }
    });
    addresses.add_handler({
        let (queue, ranges) = (queue.clone(), ranges.store().clone());
        move |event| {
            if let (Event::Deleted { .. }, Ok(address)) = (event, event.object().name().parse::<IpAddr>()) {
                for range in ranges.list() {
                    if range.is_deleting() && cidrs(&range).iter().any(|cidr| cidr.contains(&address)) {
                        queue.add(range.key());
                    }
                }
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        ranges: ranges.store().clone(),
        addresses: addresses.store().clone(),
    });
    Ok(Some(
        context.work(
            "service-cidr",
            queue,
            5,
            controller,
            |controller, key| async move { controller.sync(&key).await },
        ),
    ))
}

fn cidrs(range: &ServiceCIDR) -> Vec<IpNet> {
    let texts = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| text.parse().ok()).collect()
}

struct Controller {
    client: Client,
    ranges: Store<ServiceCIDR>,
    addresses: Store<IPAddress>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(range) = self.ranges.get(key) else { return Ok(Action::Done) };
        if !range.is_deleting() {
            volume::protect(&self.client, &*range, FINALIZER, true).await?;
            self.set_ready(&range, "True", "", "Kubernetes Service CIDR is ready").await?;
            return Ok(Action::Done);
        }
        if !range.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Action::Done);
        }
        if !self.may_go(&range) {
            let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            self.set_ready(&range, "False", "Terminating", message).await?;
            return Ok(Action::Done);
        }
        let since = range.metadata.deletion_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let left = since + GRACE.as_secs() as i64 - Timestamp::now().as_second();
        if left > 0 {
            return Ok(Action::RequeueAfter(Duration::from_secs(left as u64)));
        }
        volume::protect(&self.client, &*range, FINALIZER, false).await?;
        Ok(Action::Done)
    }

    /// Whether each address in the range is also in another one that stays.
    fn may_go(&self, range: &ServiceCIDR) -> bool {
        let own = cidrs(range);
        let others = self.ranges.list();
        let others: Vec<IpNet> = others
            .iter()
            .filter(|other| other.name() != range.name() && !other.is_deleting())
            .flat_map(|other| cidrs(other))
            .collect();
        if own.iter().all(|cidr| others.iter().any(|other| other.contains(cidr))) {
            return true;
        }
        self.addresses.list().iter().filter_map(|address| address.name().parse::<IpAddr>().ok()).all(|address| {
            !own.iter().any(|cidr| cidr.contains(&address)) || others.iter().any(|other| other.contains(&address))
        })
    }

    async fn set_ready(&self, range: &ServiceCIDR, status: &str, reason: &str, message: &str) -> Result<()> {
        let conditions = range.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let known = conditions.iter().find(|condition| condition.type_ == "Ready");
        if known.is_some_and(|known| known.status == status && known.message == message) {
            return Ok(());
        }
        let condition = Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(Timestamp::now()),
            observed_generation: None,
        };
        let mut conditions: Vec<Condition> = conditions.into_iter().filter(|known| known.type_ != "Ready").collect();
        conditions.push(condition);
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": range.resource_version()},
            "status": {"conditions": conditions},
        }));
        self.client.patch_status::<ServiceCIDR>("", range.name(), &patch).await?;
        Ok(())
    }
}
