//! Taking another configuration while the gateway runs: all of it or nothing, and only what differs is touched.

use std::path::Path;

use tracing::warn;

use super::{DaemonError, gateway::Gateway, negotiation::Negotiation};
use crate::{
    api::{event::What, protocol::Response},
    config::{self, Colour, Config, Report},
};

/// Why the configuration stays as it is.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// The new one is bad.
    #[error("{}", .0.render(Colour::Never))]
    Bad(Report),
    /// The new one has something that this daemon cannot change.
    #[error("{0} cannot change while the daemon runs: restart it (`systemctl restart withy`)")]
    Fixed(&'static str),
    /// What the new one needs cannot be had.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
}

/// Takes the configuration in a file; nothing changes if that cannot be.
pub(super) fn reload(
    path: &Path,
    gateway: &mut Gateway,
    negotiation: &mut Negotiation,
) -> Response {
    match try_reload(path, gateway, negotiation) {
        Ok(response) => response,
        Err(error) => {
            let file = path.display();
            warn!(%file, "the configuration stays as it is: {error}");
            let text = error.to_string();
            match error {
                ReloadError::Bad(_) => Response::BadConfiguration(text),
                ReloadError::Fixed(_) | ReloadError::Daemon(_) => Response::Failed(text),
            }
        }
    }
}

fn try_reload(
    path: &Path,
    gateway: &mut Gateway,
    negotiation: &mut Negotiation,
) -> Result<Response, ReloadError> {
    let loaded = config::load(path).map_err(ReloadError::Bad)?;
    let (old, new) = (gateway.config().clone(), loaded.config);
    if let Some(fixed) = fixed(&old, &new) {
        return Err(ReloadError::Fixed(fixed));
    }
    let prepared = negotiation.prepare(&new)?;
    gateway.reload(new.clone())?;
    negotiation.apply(prepared, &old, &new);
    let changes = config::changes(&old, &new);
    gateway.events().tell(What::Reloaded {
        file: path.display().to_string(),
        changes: changes.clone(),
    });
    let warnings = &loaded.warnings;
    Ok(Response::Reloaded {
        changes,
        warnings: (!warnings.is_empty()).then(|| warnings.render(Colour::Never)),
    })
}

/// What differs and cannot change while the daemon runs.
fn fixed(old: &Config, new: &Config) -> Option<&'static str> {
    let (old, new) = (&old.gateway, &new.gateway);
    if old.limits != new.limits {
        return Some("gateway.limits");
    }
    if old.engine != new.engine {
        return Some("gateway.engine");
    }
    // Every tunnel is another one's then.
    let key = |identity: &Option<config::Identity>| identity.as_ref().map(|own| own.key.clone());
    let (before, after) = (key(&old.identity), key(&new.identity));
    (before.is_some() && before != after).then_some("the gateway's private key")
}
