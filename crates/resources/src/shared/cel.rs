//! Expressions within objects: where they may stand, which variables they have, and what is said of those that do not
//! compile (rules: apiserver `pkg/admission/plugin/cel/compile.go`, `dynamic-resource-allocation/cel/compile.go`).

use std::sync::LazyLock;
use steersman_apimachinery::{ErrorList, Path};
use steersman_cel::{Env, Type, compile};

const REQUEST: &str = "kubernetes.AdmissionRequest";
const VARIABLES: &str = "kubernetes.variables";

/// The type of an expression; one that does not compile has none, which is told.
fn type_of(env: &Env, e: &mut ErrorList, path: &Path, source: &str) -> Option<Type> {
    compile(env, source).inspect_err(|issues| e.invalid(path, source, format!("compilation failed: {issues}"))).ok()
}

/// What admission expressions are compiled with.
pub struct Admission {
    env: Env,
}

fn fields<const N: usize>(list: [(&str, Type); N]) -> impl Iterator<Item = (String, Type)> {
    list.into_iter().map(|(name, ty)| (name.to_owned(), ty))
}

fn opaque(name: &str) -> Type {
    Type::Opaque(name.into(), [].into())
}

/// The variables that all expressions of admission have.
static BASE: LazyLock<Env> = LazyLock::new(|| {
    let (strings, labels) = (|| Type::list(Type::String), || Type::map(Type::String, Type::String));
    let object = Type::object;
    let kind = [("group", Type::String), ("version", Type::String), ("kind", Type::String)];
    let resource = [("group", Type::String), ("version", Type::String), ("resource", Type::String)];
    Env::kubernetes()
        .object("kubernetes.GroupVersionKind", fields(kind))
        .object("kubernetes.GroupVersionResource", fields(resource))
        .object(
            "kubernetes.UserInfo",
            fields([
                ("username", Type::String),
                ("uid", Type::String),
                ("groups", strings()),
                ("extra", Type::map(Type::String, strings())),
            ]),
        )
        .object(
            REQUEST,
            fields([
                ("kind", object("kubernetes.GroupVersionKind")),
                ("resource", object("kubernetes.GroupVersionResource")),
                ("subResource", Type::String),
                ("requestKind", object("kubernetes.GroupVersionKind")),
                ("requestResource", object("kubernetes.GroupVersionResource")),
                ("requestSubResource", Type::String),
                ("name", Type::String),
                ("namespace", Type::String),
                ("operation", Type::String),
                ("userInfo", object("kubernetes.UserInfo")),
                ("dryRun", Type::Bool),
                ("options", Type::Dyn),
            ]),
        )
        .object("kubernetes.NamespaceSpec", fields([("finalizers", strings())]))
        .object(
            "kubernetes.NamespaceCondition",
            fields([
                ("status", Type::String),
                ("type", Type::String),
                ("lastTransitionTime", Type::Timestamp),
                ("message", Type::String),
                ("reason", Type::String),
            ]),
        )
        .object(
            "kubernetes.NamespaceStatus",
            fields([("conditions", Type::list(object("kubernetes.NamespaceCondition"))), ("phase", Type::String)]),
        )
        .object(
            "kubernetes.NamespaceMetadata",
            fields([
                ("name", Type::String),
                ("generateName", Type::String),
                ("namespace", Type::String),
                ("labels", labels()),
                ("annotations", labels()),
                ("UID", Type::String),
                ("creationTimestamp", Type::Timestamp),
                ("deletionGracePeriodSeconds", Type::Int),
                ("deletionTimestamp", Type::Timestamp),
                ("generation", Type::Int),
                ("resourceVersion", Type::String),
                ("finalizers", strings()),
            ]),
        )
        .object(
            "kubernetes.Namespace",
            fields([
                ("metadata", object("kubernetes.NamespaceMetadata")),
                ("spec", object("kubernetes.NamespaceSpec")),
                ("status", object("kubernetes.NamespaceStatus")),
            ]),
        )
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .variable("namespaceObject", object("kubernetes.Namespace"))
        .variable("request", object(REQUEST))
});

impl Admission {
    /// `params`: whether the policy has a kind of parameters; `authorizer`: whether the expression may ask it.
    pub fn new(params: bool, authorizer: bool) -> Self {
        let mut env = BASE.clone();
        if params {
            env = env.variable("params", Type::Dyn);
        }
        if authorizer {
            env = env
                .variable("authorizer", opaque("kubernetes.authorization.Authorizer"))
                .variable("authorizer.requestResource", opaque("kubernetes.authorization.ResourceCheck"));
        }
        Self { env }
    }

    /// The same with the variables of the policy, of these names and types.
    #[must_use]
    pub fn with(self, variables: &[(String, Type)]) -> Self {
        let env = self.env.object(VARIABLES, variables.iter().cloned());
        Self { env: env.variable("variables", Type::object(VARIABLES)) }
    }

    /// The same with the types that patches are written in (rule: apiserver `pkg/cel/mutation/typeresolver.go`).
    #[must_use]
    pub fn with_patches(self) -> Self {
        let patch = [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)];
        Self { env: self.env.open_object("Object").object("JSONPatch", fields(patch)) }
    }

    /// Compiles a variable of the policy; its type, if it has one.
    pub fn variable(&self, e: &mut ErrorList, path: &Path, source: &str) -> Option<Type> {
        type_of(&self.env, e, path, source)
    }

    /// Compiles an expression that has to be of one of these types.
    pub fn expression(&self, e: &mut ErrorList, path: &Path, source: &str, types: &[Type]) {
        let Some(ty) = self.variable(e, path, source) else { return };
        if !types.contains(&ty) {
            let names: Vec<String> = types.iter().map(Type::go_name).collect();
            let wanted = match &names[..] {
                [one] => one.clone(),
                many => format!("one of [{}]", many.join(" ")),
            };
            e.invalid(path, source, format!("must evaluate to {wanted} but got {}", ty.go_name()));
        }
    }
}

/// What selectors of devices are compiled with.
static DEVICE: LazyLock<Env> = LazyLock::new(|| {
    let by_domain = |of: Type| Type::map(Type::String, Type::map(Type::String, of));
    Env::kubernetes()
        .object(
            "kubernetes.DRADevice",
            fields([
                ("driver", Type::String),
                ("attributes", by_domain(Type::Any)),
                ("capacity", by_domain(opaque("kubernetes.Quantity"))),
                ("allowMultipleAllocations", Type::Bool),
            ]),
        )
        .variable("device", Type::object("kubernetes.DRADevice"))
});

/// A selector of devices.
pub fn device_selector(e: &mut ErrorList, path: &Path, source: &str) {
    match type_of(&DEVICE, e, path, source) {
        // Values of attributes are known only when a device is at hand.
        None | Some(Type::Bool | Type::Any) => {}
        Some(ty) => {
            let why = format!("must evaluate to bool or the unknown type, not {}", ty.go_name());
            e.invalid(path, source, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tell: impl FnOnce(&mut ErrorList, &Path), want: &str) {
        let mut e = ErrorList::new();
        tell(&mut e, &Path::new("spec").child("expression"));
        let told: Vec<String> = e.0.iter().map(ToString::to_string).collect();
        if want.is_empty() {
            assert!(told.is_empty(), "{told:?}");
        } else {
            assert!(told.len() == 1 && told[0].contains(want), "{told:?} lacks {want}");
        }
    }

    #[test]
    fn selectors_of_devices() {
        let selector = |source: &'static str| move |e: &mut ErrorList, p: &Path| device_selector(e, p, source);
        check(selector("device.driver == 'x'"), "");
        check(selector("device.attributes['x'].ready"), "");
        check(selector("1 + 1"), "must evaluate to bool or the unknown type, not int");
        check(selector("device.nope"), "compilation failed: ERROR: <input>:1:7: undefined field 'nope'");
    }

    #[test]
    fn expressions_of_policies() {
        let expression = |params, authorizer, source: &'static str| {
            move |e: &mut ErrorList, p: &Path| {
                Admission::new(params, authorizer).expression(e, p, source, &[Type::Bool])
            }
        };
        check(expression(false, true, "object.spec.replicas < 5 && request.userInfo.username != 'x'"), "");
        check(expression(false, false, "object.spec.ready"), "must evaluate to bool but got dyn");
        check(expression(false, false, "params.x == 1"), "undeclared reference to 'params' (in container '')");
        check(expression(true, false, "params.x == 1"), "");
        check(
            expression(false, false, "authorizer.path('/').check('get').allowed()"),
            "undeclared reference to 'authorizer'",
        );
        check(expression(false, false, "request.nope == 1"), "undefined field 'nope'");
        let several = |e: &mut ErrorList, p: &Path| {
            Admission::new(false, false).expression(e, p, "1", &[Type::String, Type::Null])
        };
        check(several, "must evaluate to one of [string null_type] but got int");
    }

    #[test]
    fn patches() {
        let patch = |ty: Type, source: &'static str| {
            move |e: &mut ErrorList, p: &Path| {
                Admission::new(false, true).with_patches().expression(e, p, source, std::slice::from_ref(&ty))
            }
        };
        let (object, list) = (|| Type::object("Object"), || Type::list(Type::object("JSONPatch")));
        check(patch(object(), "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}"), "");
        check(patch(object(), "Object.spec{}"), "must evaluate to Object but got Object.spec");
        check(patch(object(), "Objects{}"), "undeclared reference to 'Objects' (in container '')");
        check(patch(list(), "[JSONPatch{op: 'add', path: '/a', value: 1}]"), "");
        check(patch(list(), "JSONPatch{op: 'add'}"), "must evaluate to list(JSONPatch) but got JSONPatch");
        check(patch(list(), "[JSONPatch{nope: 'add'}]"), "undefined field 'nope'");
        check(
            patch(list(), "[JSONPatch{op: 1}]"),
            "expected type of field 'op' is 'string' but provided type is 'int'",
        );
        check(|e, p| Admission::new(false, true).expression(e, p, "Object{}", &[Type::object("Object")]), "undeclared");
    }

    #[test]
    fn variables_see_those_before_them() {
        let known = [("a".to_owned(), Type::Int)];
        let expression = |source: &'static str| {
            let known = known.clone();
            move |e: &mut ErrorList, p: &Path| {
                Admission::new(false, true).with(&known).expression(e, p, source, &[Type::Bool])
            }
        };
        check(expression("variables.a > 1"), "");
        check(expression("variables.b"), "undefined field 'b'");
    }
}
