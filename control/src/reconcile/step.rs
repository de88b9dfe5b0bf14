use std::fmt;

use super::{Key, objects::Object};

/// One change of the kernel's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes an object that is not there.
    Create(Object),
    /// Changes an object in place.
    Update(Object),
    /// Removes an object and makes it anew.
    Recreate(Object),
    /// Removes an object; restores the former value of a setting.
    Remove(Key),
}

impl Step {
    /// What the step is about.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Create(object) | Self::Update(object) | Self::Recreate(object) => object.key(),
            Self::Remove(key) => key.clone(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(object @ Object::Sysctl(_)) | Self::Update(object @ Object::Sysctl(_)) => {
                write!(f, "set {object}")
            }
            Self::Create(object) => write!(f, "create {object}"),
            Self::Update(object) => write!(f, "change to {object}"),
            Self::Recreate(object) => write!(f, "replace with {object}"),
            Self::Remove(key @ Key::Sysctl(_)) => write!(f, "restore {key}"),
            Self::Remove(key) => write!(f, "remove {key}"),
        }
    }
}
