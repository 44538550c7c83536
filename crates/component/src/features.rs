//! Feature gates: `--feature-gates=Name=true,...`.

use std::collections::BTreeMap;

/// How far a feature has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stage {
    Alpha,
    Beta,
    Ga,
    Deprecated,
}

impl Stage {
    /// As the metric `kubernetes_feature_enabled` names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Ga => "",
            Self::Deprecated => "DEPRECATED",
        }
    }
}

include!("features_table.rs");

/// Which features are on.
#[derive(Clone, Debug)]
pub struct Gates(BTreeMap<&'static str, (bool, Stage)>);

impl Default for Gates {
    fn default() -> Self {
        Self(GATES.iter().map(|(n, on, s)| (*n, (*on, *s))).collect())
    }
}

impl Gates {
    /// Applies pairs as `--feature-gates` gives them; the error is upstream's text.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut gates = Self::default();
        for (name, value) in pairs {
            let on = match value.as_str() {
                "true" | "1" | "t" | "T" | "TRUE" | "True" => true,
                "false" | "0" | "f" | "F" | "FALSE" | "False" => false,
                v => {
                    return Err(format!(
                        "invalid argument \"{name}={v}\" for \"--feature-gates\" flag: invalid value of {name}={v}, err: strconv.ParseBool: parsing \"{v}\": invalid syntax"
                    ));
                }
            };
            match name.as_str() {
                "AllAlpha" => gates.set_stage(Stage::Alpha, on),
                "AllBeta" => gates.set_stage(Stage::Beta, on),
                _ => {}
            }
        }
        for (name, value) in pairs.iter().filter(|(n, _)| n != "AllAlpha" && n != "AllBeta") {
            let on = matches!(value.as_str(), "true" | "1" | "t" | "T" | "TRUE" | "True");
            let Some(gate) = gates.0.get_mut(name.as_str()) else {
                return Err(format!("unrecognized feature gate: {name}"));
            };
            if gate.1 == Stage::Ga && gate.0 != on {
                return Err(format!("cannot set feature gate {name} to {on}, feature is locked to {}", gate.0));
            }
            gate.0 = on;
        }
        Ok(gates)
    }
    fn set_stage(&mut self, stage: Stage, on: bool) {
        for gate in self.0.values_mut().filter(|g| g.1 == stage) {
            gate.0 = on;
        }
    }
    /// Whether a feature is on; unknown names are off.
    pub fn enabled(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|g| g.0)
    }
    /// All gates with their state and stage.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, bool, Stage)> + '_ {
        self.0.iter().map(|(n, (on, s))| (*n, *on, *s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_parse_and_refuse() {
        let pair = |n: &str, v: &str| vec![(n.to_owned(), v.to_owned())];
        assert!(Gates::default().enabled("SidecarContainers"));
        assert!(Gates::parse(&pair("AllAlpha", "true")).expect("parses").enabled("CBORServingAndStorage"));
        assert_eq!(Gates::parse(&pair("Nope", "true")).expect_err("unknown"), "unrecognized feature gate: Nope");
        assert!(Gates::parse(&pair("SidecarContainers", "false")).is_err());
    }
}
