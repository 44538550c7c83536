//! What resources the apiserver serves, each in its preferred version
//! (rule: client-go `discovery.ServerPreferredResources`).

use ahash::HashSet;
use steersman_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use steersman_client::{Client, ResourcePath, Result};

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Where it is.
    pub path: ResourcePath,
    /// Its kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl Resource {
    /// Whether a verb is served.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// All that could be discovered.
#[derive(Debug, Default)]
pub struct Discovered {
    /// The resources.
    pub resources: Vec<Resource>,
    /// Group versions that did not answer, with the reason: aggregated ones may be away.
    pub failures: Vec<String>,
}

/// Every resource that has all of `verbs`, in its group's preferred version (or the first that has it).
pub async fn preferred(client: &Client, verbs: &[&str]) -> Result<Discovered> {
    let mut versions: Vec<(String, String)> = vec![(String::new(), "v1".to_owned())];
    let groups: APIGroupList = client.json(http::Method::GET, "/apis", "", None).await?;
    for group in groups.groups {
        let preferred = group.preferred_version.map(|v| v.version);
        let mut all: Vec<String> = group.versions.into_iter().map(|v| v.version).collect();
        all.sort_by_key(|version| Some(version) != preferred.as_ref());
        versions.extend(all.into_iter().map(|version| (group.name.clone(), version)));
    }
    let answers = futures::future::join_all(versions.iter().map(|(group, version)| async move {
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        client.json::<APIResourceList>(http::Method::GET, &path, "", None).await
    }))
    .await;
    let (mut found, mut seen) = (Discovered::default(), HashSet::default());
    for ((group, version), answer) in versions.into_iter().zip(answers) {
        let list = match answer {
            Ok(list) => list,
            // The group has gone since it was listed.
            Err(error) if error.is_not_found() => continue,
            Err(error) => {
                found.failures.push(format!("{group}/{version}: {error}"));
                continue;
            }
        };
        for resource in list.resources {
            let wanted = !resource.name.contains('/') && verbs.iter().all(|v| resource.verbs.iter().any(|x| x == v));
            if wanted && seen.insert((group.clone(), resource.name.clone())) {
                found.resources.push(Resource {
                    path: ResourcePath { group: group.clone(), version: version.clone(), resource: resource.name },
                    kind: resource.kind,
                    namespaced: resource.namespaced,
                    verbs: resource.verbs,
                });
            }
        }
    }
    Ok(found)
}

/// Like [`preferred`], of resources that live in namespaces.
pub async fn namespaced(client: &Client, verbs: &[&str]) -> Result<Discovered> {
    let mut found = preferred(client, verbs).await?;
    found.resources.retain(|resource| resource.namespaced);
    Ok(found)
}
