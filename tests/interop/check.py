"""Reads what the agent has sent, with other people's programs: from Kafka with librdkafka, from a file that mosquitto_sub
wrote; decodes with cbor2, holds each event against the schema with pycddl, drops copies by (vehicle, seq).

    check.py BROKER TOPIC FILE SCHEMA

Exits with 1 and says why when an event is not as the schema has it, when a number is missing, when headers and key do not
say what the event says, when a record is not where Java's default partitioner puts it, or when both places do not have the
same.
"""

import io
import re
import sys

import cbor2
from confluent_kafka import Consumer, TopicPartition
from pycddl import Schema


def murmur2(data: bytes) -> int:
    """org.apache.kafka.common.utils.Utils.murmur2"""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    for i in range(len(data) // 4):
        k = int.from_bytes(data[4 * i : 4 * i + 4], "little") * m & mask
        h = h * m & mask ^ ((k ^ k >> 24) * m & mask)
    rest = data[len(data) // 4 * 4 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def from_kafka(broker, topic):
    """All records of a topic. No consumer group: the partitions are assigned."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "check", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    for number in partitions:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
        consumer.assign([TopicPartition(topic, number, 0)])
        # The end may be told too low by a batch: it is read on until nothing comes.
        while end > 0:
            message = consumer.poll(5)
            if message is None:
                break
            if message.error():
                sys.exit(f"{topic}: {message.error()}")
            yield len(partitions), message


def events(sequence: bytes):
    """The items of a CBOR sequence, each with its encoding."""
    stream = io.BytesIO(sequence)
    decoder = cbor2.CBORDecoder(stream)
    while stream.tell() < len(sequence):
        start = stream.tell()
        event = decoder.decode()
        yield event, sequence[start : stream.tell()]


def without_generics(schema):
    """The schema with its one generic rule written out: the library resolves the first use of it for all."""
    envelope = re.search(r"^envelope<KIND, BODY> = (\{.*?^\})", schema, re.MULTILINE | re.DOTALL)
    plain = schema.replace(envelope.group(0), "")

    def written_out(use):
        kind, body = use.groups()
        return envelope.group(1).replace("kind: KIND", f"kind: {kind}").replace("body: BODY", f"body: {body}")

    plain, uses = re.subn(r"envelope<(\"\w+\"), ([\w-]+)>", written_out, plain)
    assert uses > 10
    # What later versions may add this one does not send; with it, the library would take any value for a known key.
    return re.sub(r"^ *\* tstr => any$", "", plain, flags=re.MULTILINE)


def check(where, event, encoding, schema):
    try:
        schema.validate_cbor(encoding)
    except Exception as error:  # pycddl's own type says no more
        sys.exit(f"{where}: {event} is not as the schema has it: {error}")
    if cbor2.dumps(event, canonical=True) != encoding:
        sys.exit(f"{where}: {event} is not in deterministic encoding")


def main(broker, topic, file, schema):
    with open(schema, encoding="utf-8") as text:
        schema = Schema(without_generics(text.read()))
    kafka, copies = {}, 0
    for count, message in from_kafka(broker, topic):
        event, headers = cbor2.loads(message.value()), dict(message.headers())
        check("Kafka", event, message.value(), schema)
        said = {name: headers[name].decode() for name in ("class", "seq", "boot", "schema", "content-type")}
        meant = {"class": event["class"], "seq": str(event["seq"]), "boot": event["boot"], "schema": str(event["v"])}
        if said != meant | {"content-type": "application/cbor"} or message.key() != event["vehicle"].encode():
            sys.exit(f"Kafka: key {message.key()} and headers {headers} are not those of {event}")
        place = (murmur2(message.key()) & 0x7FFFFFFF) % count
        if message.partition() != place:
            sys.exit(f"Kafka: {message.key()} is in partition {message.partition()}, it belongs into {place}")
        copies += (event["vehicle"], event["seq"]) in kafka
        kafka[event["vehicle"], event["seq"]] = message.value()
    mqtt = {}
    with open(file, "rb") as received:
        for event, encoding in events(received.read()):
            check("MQTT", event, encoding, schema)
            copies += (event["vehicle"], event["seq"]) in mqtt
            mqtt[event["vehicle"], event["seq"]] = encoding
    if kafka != mqtt:
        sys.exit(f"{len(kafka)} events in Kafka, {len(mqtt)} at the MQTT broker: {sorted(kafka.items() ^ mqtt.items())[:3]}")
    numbers = sorted(seq for _, seq in kafka)
    if not numbers or numbers != list(range(1, numbers[-1] + 1)):
        sys.exit(f"of {numbers[-1:]} numbers {len(numbers)} came")
    print(f"{len(numbers)} events in both places, none missing, {copies} copies; all are as the schema has them")


if __name__ == "__main__":
    main(*sys.argv[1:])
