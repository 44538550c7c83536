//! Lifecycle hooks: what runs right after a container starts and right before it is stopped.

use std::time::Duration;

use steersman_cri::Runtime;

use crate::{
    api::*,
    http::{self, Get},
};

/// A hook without a limit of its own may take this long.
const LIMIT: Duration = Duration::from_secs(3600);

/// Runs a hook in a container. The error text goes into an event.
pub async fn run(
    runtime: &dyn Runtime,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
    pod_ip: &str,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let shown = format!("{command:?}");
        let out = runtime.exec_sync(id, command, Duration::ZERO).await;
        return match out {
            Ok(out) if out.exit_code == 0 => Ok(()),
            Ok(out) => Err(format!(
                "Exec lifecycle hook ({shown}) for Container {:?} failed - error: command '{}' exited with {}: {}, message: {:?}",
                container.name,
                shown.trim_matches(['[', ']']),
                out.exit_code,
                String::from_utf8_lossy(&out.stderr),
                String::from_utf8_lossy(&out.stdout)
            )),
            Err(e) => {
                Err(format!("Exec lifecycle hook ({shown}) for Container {:?} failed - error: {e}", container.name))
            }
        };
    }
    if let Some(get) = &hook.http_get {
        let request = Get {
            tls: get.scheme.as_deref() == Some("HTTPS"),
            host: get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| pod_ip.to_owned()),
            port: http::port_of(&get.port, container)?,
            path: get.path.clone().unwrap_or_else(|| "/".into()),
            headers: get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
        };
        return match http::get(&request, LIMIT).await {
            Ok((status, _)) if status < 400 => Ok(()),
            Ok((status, _)) => Err(format!(
                "HTTP lifecycle hook ({}) for Container {:?} failed - status {status}",
                request.path, container.name
            )),
            Err(e) => Err(format!(
                "HTTP lifecycle hook ({}) for Container {:?} failed - error: {e}",
                request.path, container.name
            )),
        };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    // A TCP hook is accepted by the API for compatibility and does nothing.
    Ok(())
}
