"""What a running server does beside its requests."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import sqlalchemy as sa

from app import chores
from app.record import tables
from tests.serving import Served, serving

PART = "?msisdn=14155550101&to=14155550199&messageId=0A{number}&text={text}&type=text&concat=true&concat-ref={ref}&concat-total=2&concat-part=1"


def hear_a_first_part(served: Served, number: int, text: str) -> int:
    told = {"name": "vonage", "provider": "vonage", "type": "inbound", "scheme": {"type": "token"}}
    made = served.ask("POST", "/v1/webhooks", told)
    shown = made if made.status == 201 else served.ask("GET", "/v1/webhooks/vonage")
    target = urlsplit(shown.json["url"]).path + PART.format(number=number, text=text, ref=number)
    return served.ask("GET", target, token=None).status


def let_time_pass(served: Served, passed: timedelta) -> None:
    then = datetime.now(UTC) - passed
    served.write(lambda conn: conn.execute(sa.update(tables.inbound_parts).values(received_at=then, stored_at=then)))


def texts(served: Served) -> list[str]:
    heard = sa.select(tables.inbound_messages.c.text).order_by(tables.inbound_messages.c.id)
    return list(served.parts.database.read_now(lambda conn: conn.execute(heard).scalars().all()))


def test_a_message_of_which_a_part_never_comes_is_decided_as_it_is(database_url: str) -> None:
    with serving(database_url) as served:
        answered = [hear_a_first_part(served, 1, "STOP"), hear_a_first_part(served, 2, "Hello")]
        before = texts(served)
        let_time_pass(served, timedelta(minutes=2))

        more = served.run(chores._decide_some(served.parts))
        again = served.run(chores._decide_some(served.parts))

        assert (answered, before, more, again) == ([200, 200], [], False, False)
        assert sorted(texts(served)) == ["Hello […]", "STOP […]"]
        assert served.ask("GET", "/v1/consent/+14155550101").json["state"] == "opted_out"
