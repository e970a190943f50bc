//! A gateway's address.

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) kafka: bool,
    pub(crate) secure: bool,
    /// One, or for Kafka several. IPv6 addresses without brackets.
    pub(crate) hosts: Vec<(String, u16)>,
}

/// `mqtt://`, `mqtts://`, `kafka://` or `kafkas://`, and `host[:port]`; for Kafka several with commas between. An IPv6
/// address stands in brackets.
pub(crate) fn parse(url: &str) -> Option<Url> {
    let (scheme, rest) = url.split_once("://")?;
    let (kafka, secure, port) = match scheme {
        "mqtt" => (false, false, 1883),
        "mqtts" => (false, true, 8883),
        "kafka" => (true, false, 9092),
        "kafkas" => (true, true, 9093),
        _ => return None,
    };
    let hosts = rest.split(',').map(|host| parse_host(host, port)).collect::<Option<Vec<_>>>()?;
    (kafka || hosts.len() == 1).then_some(Url { kafka, secure, hosts })
}

fn parse_host(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            (host, after.strip_prefix(':').map_or(after.is_empty().then_some(default), |p| p.parse().ok())?)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, default),
        },
    };
    let clean = !host.is_empty() && port != 0 && !host.contains(['/', '@', ' ', '?', '#']);
    clean.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = |kafka, secure, hosts: &[(&str, u16)]| {
            let hosts = hosts.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
            Some(Url { kafka, secure, hosts })
        };
        assert_eq!(parse("mqtt://a"), url(false, false, &[("a", 1883)]));
        assert_eq!(parse("mqtts://a.b:1"), url(false, true, &[("a.b", 1)]));
        assert_eq!(parse("mqtt://[::1]:1884"), url(false, false, &[("::1", 1884)]));
        assert_eq!(parse("mqtts://[::1]"), url(false, true, &[("::1", 8883)]));
        assert_eq!(parse("kafka://a,b:1"), url(true, false, &[("a", 9092), ("b", 1)]));
        assert_eq!(parse("kafkas://a"), url(true, true, &[("a", 9093)]));
        for bad in [
            "a",
            "http://a",
            "mqtt://",
            "mqtt://a:x",
            "mqtt://a:0",
            "mqtt://[::1",
            "mqtt://u@a",
            "mqtt://[::1]x",
            "mqtt://a,b",
            "kafka://a,",
            "kafka://",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
