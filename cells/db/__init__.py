"""The database of a cell: models, queries by subject, migrations.

Statements, not ORM rows, in what follows a message; nothing above this
package sees a row.
"""
