//! Addresses of NATS servers as users write them, with credentials in them or without.
//!
//! The NATS client takes no credentials from a URL, and an address is shown in messages and logs: so what is secret is taken
//! out here, and handed to the client by itself.

use std::fmt;

/// URLs taken apart.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Servers {
    /// Without credentials, in the order given. Not checked further.
    pub urls: Vec<String>,
    /// Those of the first URL that has some; they are used for all servers.
    pub credentials: Option<Credentials>,
}

/// How a client says who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    UserAndPassword(String, String),
    Token(String),
}

impl Servers {
    /// Takes URLs with commas between: `nats://127.0.0.1:4222`, `tls://user:password@host`, `nats://token@host`. Characters that
    /// mean something in a URL are written as `%40` and the like within credentials.
    pub fn of(text: &str) -> Self {
        let mut servers = Self::default();
        for url in text.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let (scheme, rest) = match url.split_once("://") {
                Some((scheme, rest)) => (format!("{scheme}://"), rest),
                None => (String::new(), url),
            };
            let Some((secret, host)) = rest.rsplit_once('@') else {
                servers.urls.push(url.to_owned());
                continue;
            };
            servers.urls.push(format!("{scheme}{host}"));
            servers
                .credentials
                .get_or_insert_with(|| match secret.split_once(':') {
                    Some((user, password)) => {
                        Credentials::UserAndPassword(decoded(user), decoded(password))
                    }
                    None => Credentials::Token(decoded(secret)),
                });
        }
        servers
    }
}

/// The URLs, as they may be shown.
impl fmt::Display for Servers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.urls.join(","))
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("credentials")
    }
}

/// Percent-encoding undone; what is no such encoding stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let encoded = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match encoded {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_urls() {
        let servers = Servers::of("nats://ada:s%40cret@one:4222, nats://two:4222");
        assert_eq!(servers.urls, ["nats://one:4222", "nats://two:4222"]);
        let expected = Credentials::UserAndPassword("ada".into(), "s@cret".into());
        assert!(servers.credentials == Some(expected));
    }

    #[test]
    fn a_name_alone_is_a_token() {
        let servers = Servers::of("tls://t0ken@host");
        assert_eq!(servers.urls, ["tls://host"]);
        assert!(servers.credentials == Some(Credentials::Token("t0ken".into())));
    }

    #[test]
    fn urls_without_credentials_stay_as_they_are() {
        let servers = Servers::of("nats://127.0.0.1:4222,host,");
        assert_eq!(servers.urls, ["nats://127.0.0.1:4222", "host"]);
        assert!(servers.credentials.is_none());
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let servers = Servers::of("nats://ada:secret@host:4222");
        assert_eq!(servers.to_string(), "nats://host:4222");
        assert!(!format!("{servers:?}{:?}", servers.credentials).contains("secret"));
    }

    #[test]
    fn a_percent_sign_that_encodes_nothing_is_itself() {
        let servers = Servers::of("nats://ada:100%@host");
        let expected = Credentials::UserAndPassword("ada".into(), "100%".into());
        assert!(servers.credentials == Some(expected));
    }
}
