"""The views that people query; README documents them, and their columns stay across versions."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DAY = {
    "sqlite": "substr({}, 1, 10)",
    "postgresql": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}

CURRENT_CONSENT = """
SELECT program, address, state, since, as_of, cause, confirmed AS confirmation_sent, ledger_id FROM consent
"""
CONSENT_HISTORY = """
SELECT l.id, e.address, l.program, l.old_state, l.new_state, l.cause, l.rule, l.superseded, l.effective_at, l.received_at,
       e.actor, e.reason, e.webhook, e.text, e.normal, e.keyword, l.list_version, e.signature, e.reply_text, e.inbound_id,
       l.commitment
FROM ledger l LEFT JOIN evidence e ON e.ledger_id = l.id
"""
DELIVERY = """
SELECT m.id, m.account, m.provider_id, m.recipient, m.sender, m.status, m.provider_status, m.code, m.error_text,
       m.first_at, m.status_at, o.id AS reply_id, o.category AS reply_category, o.text AS reply_text,
       o.inbound_id AS reply_to, o.sent_at
FROM messages m LEFT JOIN outbox o ON o.id = m.outbox_id
"""
INBOUND = """
SELECT i.id, i.received_at, i.webhook, i.provider, i.program, i.address, i.sender, i.channel, i.text, i.category, i.rule,
       i.keyword, i.reply, o.state AS reply_state, o.reason AS reply_reason, o.text AS reply_text, i.provider_id,
       i.provider_time, i.effective_at, i.raw_id
FROM inbound_messages i LEFT JOIN outbox o ON o.id = i.outbox_id
"""
DAILY_REPORT = """
SELECT {inbound_day} AS day, 'inbound' AS what, i.provider, i.category AS detail, count(*) AS events
FROM inbound_messages i GROUP BY 1, 3, 4
UNION ALL
SELECT {receipt_day}, 'receipt', coalesce(w.provider, ''), r.status, count(*)
FROM receipts r LEFT JOIN webhooks w ON w.name = r.webhook GROUP BY 1, 3, 4
UNION ALL
SELECT {reply_day}, 'reply', coalesce(c.provider, ''), o.state, count(*)
FROM outbox o LEFT JOIN credentials c ON c.name = o.credential GROUP BY 1, 3, 4
"""
VIEWS = {
    "current_consent": CURRENT_CONSENT,
    "consent_history": CONSENT_HISTORY,
    "delivery": DELIVERY,
    "inbound": INBOUND,
    "daily_report": DAILY_REPORT,
}


def upgrade() -> None:
    day = DAY[op.get_bind().dialect.name].format
    for name, query in VIEWS.items():
        days = {
            "inbound_day": day("i.received_at"), "receipt_day": day("r.received_at"), "reply_day": day("o.created_at"),
        }  # fmt: skip
        op.execute(f"CREATE VIEW {name} AS {query.format(**days) if name == 'daily_report' else query}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
