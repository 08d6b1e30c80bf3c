"""Requests that prove themselves: the vectors that providers publish, and the small change that tests make to them.

The vectors are those of the fact sheets: taken from a provider's documentation or SDK, or computed from its algorithm.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from app.authenticate import verifier
from app.errors import Refused
from app.request import Request
from app.scheme import (
    BasicScheme,
    Ed25519Scheme,
    HmacScheme,
    JwtScheme,
    ParameterScheme,
    PlivoScheme,
    Scheme,
    SecretScheme,
    TwilioScheme,
    Window,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
JSON = "application/json"
URL = "https://hooks.example.com/in/k3yT0ken"


def request(
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    url: str = URL,
    *,
    method: str = "POST",
    content_type: str = JSON,
    at: datetime = NOON,
    via_proxy: bool = False,
) -> Request:
    given = {"content-type": content_type, **(headers or {})}
    return Request(method, url, given, body, at, query=url.partition("?")[2], via_proxy=via_proxy)


def changed(
    asked: Request,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    url: str = "",
    at: datetime | None = None,
) -> Request:
    seen = url or asked.url
    return Request(
        asked.method,
        seen,
        dict(asked.headers if headers is None else headers),
        asked.body if body is None else body,
        at or asked.received_at,
        query=seen.partition("?")[2],
        via_proxy=asked.via_proxy,
    )


def reason(scheme: Scheme, secret: str, asked: Request) -> str:
    with pytest.raises(Refused) as refused:
        verifier(scheme, (secret.encode(),))(asked)
    return str(refused.value)


def second(unix: int) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


# --- one published vector after the other -------------------------------------------------------------------------

TWILIO_KEY = "twilio_test_token"
TWILIO_URL = "https://hooks.example.com/in/twilio?tenant=7"
TWILIO_BODY = (
    b"MessageSid=SM00000000000000000000000000000001&SmsSid=SM00000000000000000000000000000001"
    b"&AccountSid=AC00000000000000000000000000000001&From=%2B14155550100&To=%2B14155550199"
    b"&Body=Hello+%26+goodbye&NumMedia=0&NumSegments=1&SmsStatus=received&ApiVersion=2010-04-01"
)
TWILIO_SIGNATURE = "eihyCwUREFMAjRkMmUALuaquWEY="
SDK_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
SDK_BODY = b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"
SDK_SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="

SIGNALWIRE = "x-signalwire-signature"
SIGNALWIRE_KEY = "PSKtest1234567890abcdef"
SIGNALWIRE_URL = "https://example.ngrok.io/webhook"
SIGNALWIRE_HASH = "69f3cbfc18e386ef8236cb7008cd5a54b7fed637a8cb3373b5a1591d7f0fd5f4"
SIGNALWIRE_COMPATIBLE = TwilioScheme(header="X-SignalWire-Signature", repeats="kept")
SIGNALWIRE_NATIVE = HmacScheme(header="X-SignalWire-Signature", hash="sha1", signed="{url}{body}", content="json")

SINCH = "x-sinch-webhook-signature"
SINCH_SCHEME = HmacScheme(
    header=SINCH, encoding="base64", signed=f"{{body}}.{{header:{SINCH}-nonce}}.{{header:{SINCH}-timestamp}}"
)
SINCH_SMS = (
    b'{"at":"2025-01-13T09:22:40.914Z","batch_id":"01JHFFHQ0P99JPPNQPJDV7JTBP","client_reference":"a client reference",'
    b'"code":0,"operator_status_at":"2025-01-13T09:22:00Z","recipient":"33662162466","status":"Delivered",'
    b'"type":"recipient_delivery_report_sms"}'
)
SINCH_CONVERSATION = (
    b'{"app_id":"01EB37HMH1M6SV18BSNS3G135H","accepted_time":"2020-11-17T15:09:11.659Z",'
    b'"project_id":"c36f3d3d-1513-2edd-ae42-11995557ff61","message_delivery_report":{"message_id":'
    b'"01EQBC1A3BEK731GY4YXEN0C2R","conversation_id":"01EPYATA64TMNZ1FV02JKF12JF","status":"QUEUED_ON_CHANNEL",'
    b'"contact_id":"01EXA07N79THJ20WSN6AS30TMW"}}'
)


def sinch_headers(signature: str, nonce: str, timestamp: str) -> dict[str, str]:
    return {
        SINCH: signature,
        f"{SINCH}-nonce": nonce,
        f"{SINCH}-timestamp": timestamp,
        f"{SINCH}-algorithm": "HmacSHA256",
    }


SMS_HEADERS = sinch_headers("ZoHei66PPN/kZjw7hFVfGhJOnml3iGNCMWoyQVcE5o0=", "01JHFFHWYY7HSS4FWTMDTQEK8V", "1736760161")
CONVERSATION_HEADERS = sinch_headers(
    "Yc+3R1pIS78xLASybulhs8BsSo9BPB3Pr92QCUoczfk=", "01FJA8B4A7BM43YGWSG9GBV067", "1634579353"
)

INFOBIP_BODY = (
    b'{"results":[{"messageId":"2250be2d4219-3af1-78856-aabe-1362af1edfd2","to":"41793026727",'
    b'"status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET"}}]}'
)
INFOBIP_HEX = "5b34a9c975ccc691a5f03356b3f190db71ec1e4d7b6d78a15e119fda67e15e75"
INFOBIP_BASE64 = "WzSpyXXMxpGl8DNWs/GQ23HsHk17bXihXhGf2mfhXnU="
WHATSAPP_BODY = (
    b'{"object":"whatsapp_business_account","entry":[{"id":"8856996819413533","changes":[{"value":{"messaging_product":'
    b'"whatsapp","metadata":{"display_phone_number":"15550001111","phone_number_id":"1234567890"},"statuses":[{"id":'
    b'"wamid.ABC=","status":"delivered","timestamp":"1700000000","recipient_id":"15550002222"}]},"field":"messages"}]}]}'
)
WHATSAPP_SHA256 = "sha256=6195d9ebc68c067d6ef4ea3528abd28a2ecea56534478ae18c905625a35f0310"
WHATSAPP_SHA1 = "sha1=c89fef497353a5ea6a250a8b69c165306700a203"

MESSAGEBIRD = "messagebird-signature"
MESSAGEBIRD_STAMP = "messagebird-request-timestamp"
BIRD_SCHEME = HmacScheme(
    header="MessageBird-Signature",
    encoding="base64",
    signed=f"{{header:{MESSAGEBIRD_STAMP}}}\n{{url}}\n{{body_sha256}}",
)
BIRD_URL = "https://hooks.example.com/in/bird"
BIRD_BODY = b'{"service":"channels","event":"sms.inbound","payload":{"id":"96a0b5fa-a986-453d-be5c-3117f989f025"}}'
OLD_MESSAGEBIRD_SCHEME = BIRD_SCHEME.model_copy(
    update={"signed": f"{{header:{MESSAGEBIRD_STAMP}}}\n{{sorted_query}}\n{{body_sha256}}"}
)
OLD_MESSAGEBIRD_KEY = "PlLrKaqvZNRR5zAjm42ZT6q1SQxgbbGd"
OLD_MESSAGEBIRD_URL = (
    f"{URL}?recipient=31612345678&reference=FOO&statusDatetime=2019-01-11T09%3A17%3A11%2B00%3A00"
    "&id=eef0ab57a9e049be946f3821568c2b2e&status=delivered&mccmnc=20408&ported=1"
)

RBM_SCHEME = HmacScheme(header="X-Goog-Signature", hash="sha512", encoding="base64", signed="{base64:message.data}")
RBM_DATA = (
    "eyJzZW5kZXJQaG9uZU51bWJlciI6IisxNDE1NTU1MDEwMCIsImV2ZW50VHlwZSI6IkRFTElWRVJFRCIsImV2ZW50SWQiOiJmYTJmZTVhMi1kOWE5LTRk"
    "ODMtODdkMy0zMDJhZTEwMTQ2MTAiLCJtZXNzYWdlSWQiOiI1N2JlZDc5ZS01NWJhLTQ2ZmUtYjg4YS0yNzU1YWFlZTc3ZmMiLCJzZW5kVGltZSI6IjIw"
    "MjUtMDEtMDFUMDA6MDA6MDAuMTIzNDU2WiIsImFnZW50SWQiOiJkZW1vQHJibS5nb29nIn0="
)
RBM_BODY = f'{{"message":{{"data":"{RBM_DATA}","messageId":"1"}},"subscription":"projects/x"}}'.encode()
RBM_SIGNATURE = "f2GEadWB0QvIkxBl0PWpUv0JLoZjRuMUZ8BpfxqBtPHz2K2dRMO5htsrZ5QIYLxztISykFzdcJgJrbseWXEnww=="

TELNYX_SCHEME = Ed25519Scheme(
    header="Telnyx-Signature-Ed25519",
    signed="{header:telnyx-timestamp}|{body}",
    window=Window(header="Telnyx-Timestamp", seconds=300),
)
TELNYX_SEED = bytes(range(32))
TELNYX_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
TELNYX_HEADERS = {
    "telnyx-signature-ed25519": (
        "zkMzv/BVxrnMMhlG/hfrF+N+tSGgup/nzwp1CwCMrkDcEPvYHrRcGKsuZ6ejxBCpjACFokOj0fc8Wx4WJtdNBg=="
    ),
    "telnyx-timestamp": "1737655802",
}
TELNYX_BODY = (
    b'{"data":{"event_type":"message.received","id":"bf6307bd-884d-4c1f-b6ea-c62b8c495d3c","occurred_at":'
    b'"2025-01-23T18:10:02.574Z","payload":{"direction":"inbound","from":{"phone_number":"+18665550001"},"id":'
    b'"7ee4241c-f127-47e5-9c34-3aac291f8058","text":"Hello","to":[{"phone_number":"+18445550001","status":'
    b'"webhook_delivered"}],"type":"SMS"},"record_type":"event"}}'
)

PLIVO_KEY = "plivo_test_token"
PLIVO_NONCE = "05429567804466091622"
PLIVO_URL = "https://hooks.example.com/in/plivo"
PLIVO_BODY = (
    b"From=14155550100&To=14155550199&Text=Hello&Type=sms&MessageUUID=5b40a428-bfc7-4daf-9d06-726c558bf3b8&Units=1"
    b"&TotalRate=0&TotalAmount=0&MessageIntent=&PowerpackUUID="
)
PLIVO_HEADERS = {
    "x-plivo-signature-ma-v3": "G9q1JSHo5Mm9vCDRe3ecETW3ijEAvcD0zAgFQZnqWps=",
    "x-plivo-signature-v3-nonce": PLIVO_NONCE,
}

MESSAGEBIRD_SCHEME = JwtScheme(
    header="MessageBird-Signature-JWT",
    prefix="",
    algorithms=["HS256", "HS384", "HS512"],
    issuer="MessageBird",
    url_hash="url_hash",
)
MESSAGEBIRD_KEY = "messagebird_signing_key"
MESSAGEBIRD_URL = "https://hooks.example.com/in/messagebird"
MESSAGEBIRD_BODY = (
    b"id=b6aae1b5dfb2427a8f7ea6a717ba31a9&recipient=31612345678&originator=31600000001&body=Hello"
    b"&createdDatetime=2023-07-27T00%3A49%3A29%2B00%3A00"
)
MESSAGEBIRD_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTY5MDQxODk2OSwiZXhwIjoxNjkwNDE5MDI5LCJqdGki"
    "OiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6ImZmZTU0YmQ0NGUxYTU0NjIwMGU3NGFhMzA3YjRjODMzYjZh"
    "NDc1NGI1ZTY3NDliYWFhYTE2OTk5MjY2NDUzOWUiLCJwYXlsb2FkX2hhc2giOiI5ZTcxMzM1NmEyYzIzY2I2MjE1ODBkYTk2NGY1YjVkMjhmNTcyMDdk"
    "Zjk3MWZiZjI2YjliNDBmNWY5NDlkNTg3In0.0C1zqyCALAOdKuEdw74j9KJ7PxmQuQ8AiYRZUY6XVSw"
)
MESSAGEBIRD_NOW = second(1690418980)

VONAGE_MESSAGES_SCHEME = JwtScheme(issuer="Vonage", window=300)
VONAGE_MESSAGES_KEY = "vonage_signature_secret_32_bytes_"
VONAGE_MESSAGES_BODY = (
    b'{"message_uuid":"aaaaaaaa-bbbb-cccc-dddd-0123456789ab","to":"447700900000","from":"447700900001",'
    b'"timestamp":"2025-02-03T12:14:25Z","status":"delivered","channel":"sms"}'
)
VONAGE_MESSAGES_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3Mzg1ODQ4NjUsImp0aSI6ImM1YmE4ZjI0LTFhMTQtNGMxMC1iZmRmLTNmYmU4Y2U1MTFi"
    "NSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6IjY1ZjEzZTE5NWFhNjNjMzM5M2UxOTQwMTQwMmJjY2NiNGQ3YWQ4MGU4MGQ1NWRlYjRkMDQy"
    "ZTRhNTE4YzY4NjkiLCJhcGlfa2V5IjoiYWJjZDEyMzQiLCJhcHBsaWNhdGlvbl9pZCI6ImFhYWFhYWFhLWJiYmItY2NjYy1kZGRkLTAxMjM0NTY3ODlh"
    "YiJ9.96kTvPSt6WbEHbLk1w_J8liVrWOs9Ylox6FfpzlN2jE"
)
VONAGE_MESSAGES_NOW = second(1738584870)

VONAGE_KEY = "vonage_signature_secret"
VONAGE_NOW = second(1577880010)
VONAGE_QUERY = (
    "api-key=abcd1234&msisdn=447700900001&to=447700900000&messageId=0A0000000123ABCD1&text=A%3D1%26B%3D2&type=text"
    "&keyword=A%3D1%26B%3D2&message-timestamp=2020-01-01+12%3A00%3A00&timestamp=1577880000"
    "&nonce=aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
)
VONAGE_SIGNATURES: dict[Any, str] = {
    "md5hash": "8275ffdecdac8ba7a433c567fe92c06e",
    "md5": "3fe8a3c515a221c7a52d0adebd2b7807",
    "sha1": "860a27b2fd4e804a061c81546b6ba3ade8878b87",
    "sha256": "dbcf01622cbf6250adf6c448d21831c678cb9b5229277f1f91a75384ee505b3d",
    "sha512": (
        "575bc6cc0b13aa9667650c44bb26d1134049b1aa104b48fbc59d1882e39bba3c"
        "a981f516981e8f50be9920b675c9b02618dcf545e09097a57995f4fdd6881a98"
    ),
}

#: a composite header in the manner of Telesign: `TSA account:signature`
TELESIGN_SCHEME = HmacScheme(header="Authorization", encoding="base64", behind=":", key="base64")
TELESIGN_KEY = "dGVsZXNpZ24gdGVzdCBrZXkgb2YgMzIgYnl0ZXMhISE="
TELESIGN_SIGNATURE = "xTNJ0PznqVpj4Y3DKrN8btcqw6CwJucz3cBzhJInyPg="
TELESIGN_BODY = b'{"reference_id":"35B9C50E2E2C1C2C9169A4C4D1DE8A4C","status":{"code":200}}'

#: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
STANDARD_SCHEME = HmacScheme(
    header="webhook-signature",
    encoding="base64",
    prefix="v1,",
    separator=" ",
    key="base64",
    key_prefix="whsec_",
    signed="{header:webhook-id}.{header:webhook-timestamp}.{body}",
    window=Window(header="webhook-timestamp"),
)
STANDARD_KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_NOW = second(1614265340)

# --- all of them --------------------------------------------------------------------------------------------------

#: scheme, secret, a request that proves itself
GOOD: dict[str, tuple[Scheme, str, Request]] = {
    "twilio": (
        TwilioScheme(),
        TWILIO_KEY,
        request({"x-twilio-signature": TWILIO_SIGNATURE}, TWILIO_BODY, TWILIO_URL, content_type=FORM),
    ),
    "twilio_other_header": (
        TwilioScheme(header="X-SignalWire-Signature"),
        TWILIO_KEY,
        request({SIGNALWIRE: TWILIO_SIGNATURE}, TWILIO_BODY, TWILIO_URL, content_type=FORM),
    ),
    "signalwire_native": (
        SIGNALWIRE_NATIVE,
        SIGNALWIRE_KEY,
        request(
            {SIGNALWIRE: "c3c08c1fefaf9ee198a100d5906765a6f394bf0f"},
            b'{"event":"call.state","params":{"call_id":"abc-123","state":"answered"}}',
            SIGNALWIRE_URL,
        ),
    ),
    "signalwire_native_receipt": (
        SIGNALWIRE_NATIVE,
        SIGNALWIRE_KEY,
        request(
            {SIGNALWIRE: "e1dadcb201caa1e4c3521c9369cb82f07dc5eda9"},
            b'{"id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","project_id":"b2c3d4e5-f6a7-8901-bcde-f12345678901",'
            b'"status":"delivered","to":"+15551234567","from":"+15559876543","body":"Hello","number_of_segments":1,'
            b'"timestamp":"2026-03-17T22:26:57Z","error_code":null,"error_message":null}',
            "https://hooks.example.com/dlr/signalwire",
        ),
    ),
    "signalwire_compatible": (
        SIGNALWIRE_COMPATIBLE,
        "12345",
        request({SIGNALWIRE: SDK_SIGNATURE}, SDK_BODY, SDK_URL, content_type=FORM),
    ),
    "signalwire_compatible_json": (
        SIGNALWIRE_COMPATIBLE,
        SIGNALWIRE_KEY,
        request(
            {SIGNALWIRE: "dfO9ek8mxyFtn2nMz24plPmPfIY="},
            b'{"event":"call.state"}',
            f"{SIGNALWIRE_URL}?bodySHA256={SIGNALWIRE_HASH}",
        ),
    ),
    "sinch_sms": (SINCH_SCHEME, "SMSWebhooksSecret", request(SMS_HEADERS, SINCH_SMS)),
    "sinch_conversation": (SINCH_SCHEME, "foo_secret1234", request(CONVERSATION_HEADERS, SINCH_CONVERSATION)),
    "hmac_hex": (
        HmacScheme(header="X-Infobip-Signature"),
        "infobip_secret",
        request({"x-infobip-signature": INFOBIP_HEX}, INFOBIP_BODY),
    ),
    "hmac_base64": (
        HmacScheme(header="x-signature", encoding="base64"),
        "infobip_secret",
        request({"x-signature": INFOBIP_BASE64}, INFOBIP_BODY),
    ),
    "hmac_prefix": (
        HmacScheme(header="x-hub-signature-256", prefix="sha256="),
        "meta_app_secret",
        request({"x-hub-signature-256": WHATSAPP_SHA256}, WHATSAPP_BODY),
    ),
    "hmac_sha1": (
        HmacScheme(header="x-hub-signature", hash="sha1", prefix="sha1="),
        "meta_app_secret",
        request({"x-hub-signature": WHATSAPP_SHA1}, WHATSAPP_BODY),
    ),
    "bird": (
        BIRD_SCHEME,
        "bird_signing_key",
        request(
            {MESSAGEBIRD: "ng/n/EjUds1RGtykQumjR33ISaqg1Nhkge8XegetLUk=", MESSAGEBIRD_STAMP: "1719823259"},
            BIRD_BODY,
            BIRD_URL,
        ),
    ),
    "messagebird_old": (
        OLD_MESSAGEBIRD_SCHEME,
        OLD_MESSAGEBIRD_KEY,
        request(
            {MESSAGEBIRD: "KVBdcVdz2lYMwcBLZCRITgxUfA/WkwSi+T3Wxl2HL6w=", MESSAGEBIRD_STAMP: "1547198231"},
            b"",
            OLD_MESSAGEBIRD_URL,
            method="GET",
        ),
    ),
    "messagebird_old_with_body": (
        OLD_MESSAGEBIRD_SCHEME,
        OLD_MESSAGEBIRD_KEY,
        request(
            {MESSAGEBIRD: "2bl+38H4oHVg03pC3bk2LvCB0IHFgfC4cL5HPQ0LdmI=", MESSAGEBIRD_STAMP: "1547198231"},
            b'{"foo":"bar"}',
            OLD_MESSAGEBIRD_URL,
        ),
    ),
    "rbm": (RBM_SCHEME, "SJENCPGJESMGUFPY", request({"x-goog-signature": RBM_SIGNATURE}, RBM_BODY)),
    "telesign": (
        TELESIGN_SCHEME,
        TELESIGN_KEY,
        request({"authorization": f"TSA 0A1B-2C3D:{TELESIGN_SIGNATURE}"}, TELESIGN_BODY),
    ),
    "standard_webhooks": (
        STANDARD_SCHEME,
        STANDARD_KEY,
        request(STANDARD_HEADERS, STANDARD_BODY, at=STANDARD_NOW),
    ),
    "telnyx": (TELNYX_SCHEME, TELNYX_KEY, request(TELNYX_HEADERS, TELNYX_BODY, at=second(1737655812))),
    "plivo": (PlivoScheme(), PLIVO_KEY, request(PLIVO_HEADERS, PLIVO_BODY, PLIVO_URL, content_type=FORM)),
    "plivo_with_query": (
        PlivoScheme(),
        PLIVO_KEY,
        request(
            {**PLIVO_HEADERS, "x-plivo-signature-ma-v3": "6WmYMFOwZcpo5qlbMAdNcZDirqohxaPsI7jgvQpieb8="},
            PLIVO_BODY,
            f"{PLIVO_URL}?b=2&a=1",
            content_type=FORM,
        ),
    ),
    "messagebird": (
        MESSAGEBIRD_SCHEME,
        MESSAGEBIRD_KEY,
        request(
            {"messagebird-signature-jwt": MESSAGEBIRD_TOKEN},
            MESSAGEBIRD_BODY,
            MESSAGEBIRD_URL,
            content_type=FORM,
            at=MESSAGEBIRD_NOW,
        ),
    ),
    "vonage_messages": (
        VONAGE_MESSAGES_SCHEME,
        VONAGE_MESSAGES_KEY,
        request({"authorization": f"Bearer {VONAGE_MESSAGES_TOKEN}"}, VONAGE_MESSAGES_BODY, at=VONAGE_MESSAGES_NOW),
    ),
    **{
        f"vonage_{name}": (
            ParameterScheme(hash=name, window=300),
            VONAGE_KEY,
            request({}, b"", f"{URL}?{VONAGE_QUERY}&sig={signature}", method="GET", at=VONAGE_NOW),
        )
        for name, signature in VONAGE_SIGNATURES.items()
    },
    "basic": (
        BasicScheme(username="bw_user"),
        "bw_pass",
        request({"authorization": "Basic YndfdXNlcjpid19wYXNz"}, b"[]"),
    ),
    "secret_header": (
        SecretScheme(name="X-Api-Key", prefix="Key "),
        "s3cret-of-the-webhook",
        request({"x-api-key": "Key s3cret-of-the-webhook"}, b"{}"),
    ),
    "secret_query": (
        SecretScheme(place="query", name="code"),
        "s3cret of the webhook+é",
        request({}, b"{}", URL + "?a=1&code=s3cret%20of+the+webhook%2B%C3%A9"),
    ),
}

good = pytest.mark.parametrize(("scheme", "secret", "asked"), GOOD.values(), ids=GOOD)
