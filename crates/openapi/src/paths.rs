//! The paths of a group and version, and their operations (rule: apiserver `pkg/endpoints/installer.go`).

use crate::api::{Api, Resource, Subresource};
use crate::names;
use crate::operation::{Body, Operation, parameter, path_parameter, query};
use crate::schema::{Definitions, Dialect};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use steersman_apimachinery::GroupVersionKind;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Methods by path.
pub type Paths = BTreeMap<String, Vec<(&'static str, Operation)>>;

/// All paths of a group and version.
pub fn of_api(api: &Api) -> Paths {
    let mut paths = Paths::new();
    let root = format!("/{}", api.path());
    let discovery = Operation {
        id: format!("get{}APIResources", names::prefix(&api.group, &api.version)),
        description: "get available resources".into(),
        tag: names::tag(&api.group, &api.version),
        answers: vec![(200, Body::Object(format!("{META}.APIResourceList")))],
        ..Operation::default()
    };
    paths.insert(format!("{root}/"), vec![("get", discovery)]);
    for resource in &api.resources {
        Writer { api, resource, root: &root, paths: &mut paths }.write();
    }
    paths
}

/// The path that tells of a group.
pub fn of_group(group: &str) -> Paths {
    let operation = Operation {
        id: format!("get{}APIGroup", names::group_name(group)),
        description: "get information of a group".into(),
        tag: names::tag(group, ""),
        answers: vec![(200, Body::Object(format!("{META}.APIGroup")))],
        ..Operation::default()
    };
    Paths::from([(format!("/apis/{group}/"), vec![("get", operation)])])
}

/// A document about one path that belongs to no group.
struct General {
    /// Its place in the index; the path is the same between slashes.
    name: &'static str,
    id: &'static str,
    tag: &'static str,
    description: &'static str,
    /// The definition of the answer; empty: text.
    definition: &'static str,
    /// The media types of the answer, where they are not the usual ones.
    media: &'static [&'static str],
}

const GENERAL: &[General] = &[
    General {
        name: "api",
        id: "getCoreAPIVersions",
        tag: "core",
        description: "get available API versions",
        definition: "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions",
        media: &[],
    },
    General {
        name: "apis",
        id: "getAPIVersions",
        tag: "apis",
        description: "get available API versions",
        definition: "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList",
        media: &[],
    },
    General {
        name: "version",
        id: "getCodeVersion",
        tag: "version",
        description: "get the version information for this server",
        definition: "io.k8s.apimachinery.pkg.version.Info",
        media: &["application/json"],
    },
    General {
        name: ".well-known/openid-configuration",
        id: "getServiceAccountIssuerOpenIDConfiguration",
        tag: "WellKnown",
        description: "get the OpenID configuration of the issuer of service account tokens",
        definition: "",
        media: &["application/json"],
    },
    General {
        name: "openid/v1/jwks",
        id: "getServiceAccountIssuerOpenIDKeyset",
        tag: "openid",
        description: "get the keys of the issuer of service account tokens",
        definition: "",
        media: &["application/jwk-set+json"],
    },
];

/// The paths that belong to no group: the document's name, and its paths.
pub fn general() -> impl Iterator<Item = (&'static str, Paths)> {
    GENERAL.iter().map(|general| {
        let answer = match general.definition {
            "" => Body::Text,
            name => Body::Object(name.to_owned()),
        };
        let operation = Operation {
            id: general.id.into(),
            description: general.description.into(),
            tag: general.tag.into(),
            answers: vec![(200, answer)],
            media: general.media,
            ..Operation::default()
        };
        (general.name, Paths::from([(format!("/{}/", general.name), vec![("get", operation)])]))
    })
}

struct Writer<'a> {
    api: &'a Api,
    resource: &'a Resource,
    root: &'a str,
    paths: &'a mut Paths,
}

impl Writer<'_> {
    fn write(mut self) {
        let resource = self.resource;
        let name = &resource.name;
        let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{}{scope}/{name}", self.root);
        let single = format!("{collection}/{{name}}");
        self.collection(&collection);
        self.single(&single);
        for subresource in &resource.subresources {
            self.subresource(&format!("{single}/{}", subresource.name), subresource);
        }
        if resource.namespaced && resource.has("list") {
            let everywhere = format!("{}/{name}", self.root);
            let list = self.list("ForAllNamespaces", false);
            self.put(everywhere, vec![("get", list)]);
        }
        if resource.has("watch") {
            let watch = format!("{}/watch{scope}/{name}", self.root);
            let list = self.watch("watchlist", "List");
            self.put(watch.clone(), vec![("get", list)]);
            let one = self.watch("watch", "");
            self.put(format!("{watch}/{{name}}"), vec![("get", one)]);
            if resource.namespaced {
                let mut all = self.watch("watchlist", "ListForAllNamespaces");
                all.id = all.id.replacen("Namespaced", "", 1);
                self.put(format!("{}/watch/{name}", self.root), vec![("get", all)]);
            }
        }
    }

    fn put(&mut self, path: String, operations: Vec<(&'static str, Operation)>) {
        if !operations.is_empty() {
            self.paths.insert(path, operations);
        }
    }

    fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.api.group.clone(),
            version: self.api.version.clone(),
            kind: self.resource.kind.clone(),
        }
    }

    /// The definition of the kind, or of what `gvk` says.
    fn definition(&self, gvk: &GroupVersionKind) -> String {
        if gvk.kind == self.resource.kind && !self.resource.definition.is_empty() {
            return self.resource.definition.to_string();
        }
        definition_of(gvk)
    }

    /// `<verb>CoreV1NamespacedPod<suffix>`.
    fn id(&self, verb: &str, scoped: bool, suffix: &str) -> String {
        let scope = if scoped && self.resource.namespaced { "Namespaced" } else { "" };
        format!("{verb}{}{scope}{}{suffix}", names::prefix(&self.api.group, &self.api.version), self.resource.kind)
    }

    fn operation(&self, id: String, action: &'static str, description: &str) -> Operation {
        Operation {
            id,
            description: format!("{description} {}", self.resource.kind),
            tag: names::tag(&self.api.group, &self.api.version),
            action,
            gvk: Some(self.gvk()),
            ..Operation::default()
        }
    }

    fn list(&self, suffix: &str, scoped: bool) -> Operation {
        let mut gvk = self.gvk();
        gvk.kind = format!("{}List", gvk.kind).into();
        let list = match &*self.resource.definition {
            "" => definition_of(&gvk),
            custom => format!("{custom}List"),
        };
        Operation {
            query: query::LIST,
            answers: vec![(200, Body::Object(list))],
            streams: true,
            ..self.operation(self.id("list", scoped, suffix), "list", "list or watch objects of kind")
        }
    }

    fn watch(&self, action: &'static str, suffix: &str) -> Operation {
        Operation {
            answers: vec![(200, Body::Object(format!("{META}.WatchEvent")))],
            streams: true,
            watch_path: true,
            ..self.operation(self.id("watch", true, suffix), action, "watch changes to objects of kind")
        }
    }

    fn collection(&mut self, path: &str) {
        let (resource, object) = (self.resource, self.definition(&self.gvk()));
        let mut operations = Vec::new();
        if resource.has("list") {
            operations.push(("get", self.list("", true)));
        }
        if resource.has("create") {
            let answers = [200, 201, 202].map(|status| (status, Body::Object(object.clone()))).to_vec();
            let create = Operation {
                query: query::WRITE,
                takes: Some(object),
                answers,
                ..self.operation(self.id("create", true, ""), "post", "create an object of kind")
            };
            operations.push(("post", create));
        }
        if resource.has("deletecollection") {
            let scope = if resource.namespaced { "Namespaced" } else { "" };
            let prefix = names::prefix(&self.api.group, &self.api.version);
            let id = format!("delete{prefix}Collection{scope}{}", resource.kind);
            let delete = Operation {
                query: query::DELETE_COLLECTION,
                takes: Some(format!("{META}.DeleteOptions")),
                answers: vec![(200, Body::Object(format!("{META}.Status")))],
                ..self.operation(id, "deletecollection", "delete the collection of objects of kind")
            };
            operations.push(("delete", delete));
        }
        self.put(path.to_owned(), operations);
    }

    fn single(&mut self, path: &str) {
        let (resource, object) = (self.resource, self.definition(&self.gvk()));
        let mut operations = Vec::new();
        let same = |status: u16| (status, Body::Object(object.clone()));
        if resource.has("get") {
            let read = self.operation(self.id("read", true, ""), "get", "read an object of kind");
            operations.push(("get", Operation { answers: vec![same(200)], ..read }));
        }
        if resource.has("update") {
            let replace = self.operation(self.id("replace", true, ""), "put", "replace an object of kind");
            operations.push(("put", self.update(replace, &object)));
        }
        if resource.has("patch") {
            let patch = self.operation(self.id("patch", true, ""), "patch", "update parts of an object of kind");
            operations.push(("patch", self.patch(patch, &object)));
        }
        if resource.has("delete") {
            let answer = Body::Object(format!("{META}.Status"));
            let delete = Operation {
                query: query::DELETE,
                takes: Some(format!("{META}.DeleteOptions")),
                answers: vec![(200, answer.clone()), (202, answer)],
                ..self.operation(self.id("delete", true, ""), "delete", "delete an object of kind")
            };
            operations.push(("delete", delete));
        }
        self.put(path.to_owned(), operations);
    }

    fn update(&self, base: Operation, object: &str) -> Operation {
        let answers = [200, 201].map(|status| (status, Body::Object(object.to_owned()))).to_vec();
        Operation { query: query::WRITE, takes: Some(object.to_owned()), answers, ..base }
    }

    fn patch(&self, base: Operation, object: &str) -> Operation {
        let answers = [200, 201].map(|status| (status, Body::Object(object.to_owned()))).to_vec();
        Operation { query: query::PATCH, takes: Some(format!("{META}.Patch")), patches: true, answers, ..base }
    }

    fn subresource(&mut self, path: &str, subresource: &Subresource) {
        let suffix = names::capital(&subresource.name);
        let mut gvk = subresource.gvk.clone();
        if gvk.group.is_empty() && gvk.version.is_empty() {
            gvk.group = self.api.group.clone();
            gvk.version = self.api.version.clone();
        }
        if subresource.connect {
            self.connect(path, subresource, &gvk, &suffix);
            return;
        }
        let object = self.definition(&gvk);
        let base = |id: String, action: &'static str, description: &str| Operation {
            gvk: Some(gvk.clone()),
            ..self.operation(id, action, &format!("{description} {} of", subresource.name))
        };
        let mut operations = Vec::new();
        if subresource.has("get") {
            let answer = if &*subresource.name == "log" { Body::Text } else { Body::Object(object.clone()) };
            let read = base(self.id("read", true, &suffix), "get", "read");
            operations.push(("get", Operation { answers: vec![(200, answer)], ..read }));
        }
        if subresource.has("create") {
            let answers = [200, 201, 202].map(|status| (status, Body::Object(object.clone()))).to_vec();
            let create = base(self.id("create", true, &suffix), "post", "create");
            operations
                .push(("post", Operation { query: query::WRITE, takes: Some(object.clone()), answers, ..create }));
        }
        if subresource.has("update") {
            let replace = base(self.id("replace", true, &suffix), "put", "replace");
            operations.push(("put", self.update(replace, &object)));
        }
        if subresource.has("patch") {
            let patch = base(self.id("patch", true, &suffix), "patch", "update parts of");
            operations.push(("patch", self.patch(patch, &object)));
        }
        self.put(path.to_owned(), operations);
    }

    fn connect(&mut self, path: &str, subresource: &Subresource, gvk: &GroupVersionKind, suffix: &str) {
        // A proxy takes every method, discovery tells them as verbs.
        let is_proxy = subresource.has("update");
        let methods: &[&'static str] =
            if is_proxy { &["get", "put", "post", "delete", "options", "head", "patch"] } else { &["get", "post"] };
        let scope = if self.resource.namespaced { "Namespaced" } else { "" };
        let prefix = names::prefix(&self.api.group, &self.api.version);
        let operations = |more: &str| -> Vec<(&'static str, Operation)> {
            methods
                .iter()
                .map(|method| {
                    let id =
                        format!("connect{prefix}{}{scope}{}{suffix}{more}", names::capital(method), self.resource.kind);
                    let description = format!("connect to {} of", subresource.name);
                    let operation = self.operation(id, "connect", &description);
                    (*method, Operation { gvk: Some(gvk.clone()), answers: vec![(200, Body::Text)], ..operation })
                })
                .collect()
        };
        let (own, below) = (operations(""), operations("WithPath"));
        self.put(path.to_owned(), own);
        if is_proxy {
            self.put(format!("{path}/{{path}}"), below);
        }
    }
}

/// The definition name of a built-in kind.
fn definition_of(gvk: &GroupVersionKind) -> String {
    steersman_schema::lookup(&gvk.group, &gvk.version, &gvk.kind)
        .map_or_else(|| format!("{}.{}.{}", gvk.group, gvk.version, gvk.kind), |ty| ty.name.clone().into_owned())
}

/// The paths as JSON.
pub fn render(paths: &Paths, dialect: Dialect, definitions: &mut Definitions) -> Map<String, Value> {
    let mut out = Map::new();
    for (path, operations) in paths {
        let mut item = Map::new();
        for (method, operation) in operations {
            item.insert((*method).to_owned(), operation.render(dialect, definitions));
        }
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| path_parameter(name, dialect))
            .collect();
        let is_watch = operations.iter().any(|(_, o)| o.watch_path);
        if operations.iter().any(|(_, o)| !o.action.is_empty() && o.action != "connect") {
            parameters.extend(query::PRETTY.iter().map(|p| parameter(p, dialect)));
        }
        if is_watch {
            parameters.extend(query::LIST.iter().map(|p| parameter(p, dialect)));
        }
        if !parameters.is_empty() {
            item.insert("parameters".into(), parameters.into());
        }
        out.insert(path.clone(), item.into());
    }
    out
}
