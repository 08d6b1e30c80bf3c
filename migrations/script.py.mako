"""${message}

Rules: one change a file, both directions. The code of the release before must run against the new schema, so add first
and drop a release later. Never use Alembic's batch mode on SQLite: it drops triggers and views without a word.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
