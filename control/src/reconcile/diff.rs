use super::{
    Desired, Key, Observed, Seen, Step, Verdict,
    objects::{BundleDevice, InterfaceName, Object},
};

/// Computes the steps that lead from what is to what should be.
///
/// Everything is made or changed first, each object after those that it needs; then what is no
/// longer wanted goes, in the opposite order. So a tunnel whose routes or associations change has
/// the new ones before it loses the old ones. The exception is a bundle device that has the name
/// of one that is wanted: it goes first.
///
/// No steps mean that nothing differs.
#[must_use]
pub fn diff(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let obstacles = obstacles(desired, observed);
    let gone = vanishing(desired, observed, &obstacles);
    let is_gone = |key: &Key, seen: &Seen| gone.iter().any(|device| seen.lives_on(key, device));

    let mut steps: Vec<Step> = obstacles
        .iter()
        .map(|name| Step::Remove(Key::Bundle(name.clone())))
        .collect();

    let mut changes: Vec<&Object> = desired.iter().map(|(_, object)| object).collect();
    changes.sort_by_key(|object| object.stage());
    steps.extend(changes.into_iter().filter_map(|object| {
        let key = object.key();
        // A bundle device that is made anew is itself still there to be replaced.
        let seen = observed
            .objects
            .get(&key)
            .filter(|seen| matches!(seen, Seen::Bundle(_)) || !is_gone(&key, seen));
        change(object, seen)
    }));

    steps.extend(
        observed
            .objects
            .iter()
            .rev()
            .filter(|(key, seen)| !desired.contains(key) && !is_gone(key, seen) && seen.is_ours())
            .map(|(key, _)| Step::Remove(key.clone())),
    );
    steps
}

/// The step that one wanted object takes, if any.
fn change(object: &Object, seen: Option<&Seen>) -> Option<Step> {
    let Some(seen) = seen else {
        return Some(Step::Create(object.clone()));
    };
    match seen.compare(object) {
        Verdict::Satisfied => None,
        Verdict::Differs => Some(Step::Update(object.clone())),
        Verdict::Unusable => Some(Step::Recreate(object.clone())),
    }
}

/// The bundle devices that are not wanted and hold a name that is.
fn obstacles(desired: &Desired, observed: &Observed) -> Vec<InterfaceName> {
    let wanted: Vec<&BundleDevice> = desired
        .iter()
        .filter_map(|(_, object)| match object {
            Object::Bundle(bundle) => Some(bundle),
            _ => None,
        })
        .collect();
    let holds = |name: &InterfaceName| {
        wanted
            .iter()
            .any(|bundle| bundle.name == *name || bundle.peer == *name)
    };
    observed
        .objects
        .iter()
        .filter_map(|(key, seen)| match (key, seen) {
            (Key::Bundle(name), Seen::Bundle(bundle)) if !desired.contains(key) => {
                let peer = bundle.peer.as_ref().map(|(peer, _)| peer);
                (holds(name) || peer.is_some_and(holds)).then(|| name.clone())
            }
            _ => None,
        })
        .collect()
}

/// The interfaces that the steps take away, with everything on them: those in the way, and those
/// that are made anew.
fn vanishing(
    desired: &Desired,
    observed: &Observed,
    obstacles: &[InterfaceName],
) -> Vec<InterfaceName> {
    let replaced =
        desired
            .iter()
            .filter_map(|(key, object)| match (key, observed.objects.get(key)) {
                (Key::Bundle(name), Some(seen)) if seen.compare(object) == Verdict::Unusable => {
                    Some(name.clone())
                }
                _ => None,
            });
    let mut names: Vec<InterfaceName> = obstacles.iter().cloned().chain(replaced).collect();
    let peers: Vec<InterfaceName> = names
        .iter()
        .filter_map(
            |name| match observed.objects.get(&Key::Bundle(name.clone())) {
                Some(Seen::Bundle(bundle)) => bundle.peer.as_ref().map(|(peer, _)| peer.clone()),
                _ => None,
            },
        )
        .collect();
    names.extend(peers);
    names
}

impl Seen {
    /// Whether Withy made or changed it.
    fn is_ours(&self) -> bool {
        match self {
            Self::Sysctl(sysctl) => sysctl.original.is_some(),
            _ => true,
        }
    }
}
