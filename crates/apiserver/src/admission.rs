//! The file of `--admission-control-config-file` (rule: apiserver `pkg/admission/config.go`).

use anyhow::{Context as _, bail};
use std::path::Path;
use steersman_admission::plugins::Configurations;
use steersman_apimachinery::object;

/// The configuration of each plug-in that the file names: in the file itself, or in one that it points to.
pub fn read(file: &Path) -> anyhow::Result<Configurations> {
    let whole = document(file)?;
    let (version, kind) = (object::str(&whole, &["apiVersion"]), object::str(&whole, &["kind"]));
    if kind != "AdmissionConfiguration" || !version.starts_with("apiserver.config.k8s.io/") {
        bail!("no kind {kind:?} is registered for version {version:?}");
    }
    let mut configurations = Configurations::new();
    for plugin in object::list(&whole, &["plugins"]) {
        let (name, path) = (object::str(plugin, &["name"]), object::str(plugin, &["path"]));
        let configuration = match plugin.get("configuration").filter(|c| c.is_object()) {
            Some(there) => there.clone(),
            None if path.is_empty() => continue,
            None => document(&file.parent().unwrap_or(Path::new("")).join(path))?,
        };
        configurations.insert(name.to_owned(), configuration);
    }
    Ok(configurations)
}

fn document(file: &Path) -> anyhow::Result<serde_json::Value> {
    let failed = || format!("unable to read admission control configuration from {:?}", file.display().to_string());
    let bytes = std::fs::read(file).with_context(failed)?;
    Ok(steersman_codec::yaml::read(&bytes).map_err(anyhow::Error::msg).with_context(failed)?.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_stand_in_the_file_or_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writes");
        write(
            "all.yaml",
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  configuration: {kind: A}\n- name: EventRateLimit\n  path: other.yaml\n- name: Nothing\n",
        );
        write("other.yaml", "kind: B\n");
        let found = read(&folder.path().join("all.yaml")).expect("reads");
        let kinds: Vec<_> = found.iter().map(|(name, c)| (name.as_str(), object::str(c, &["kind"]))).collect();
        assert_eq!(kinds, [("EventRateLimit", "B"), ("PodSecurity", "A")]);
        assert!(read(&folder.path().join("other.yaml")).is_err());
        assert!(read(&folder.path().join("none.yaml")).is_err());
    }
}
