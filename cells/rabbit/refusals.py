"""What a broker means that refuses a user, in words that say what to do."""

import amqp


def refusal(error: Exception, user: str, virtual_host: str) -> str | None:
    """Return why a broker refuses a user; None when that is not what the error says.

    :param error: what connecting raised.
    """
    if isinstance(error, amqp.exceptions.AccessRefused):
        return 'it refuses user %s: the name or the password is wrong' % user
    if isinstance(error, amqp.exceptions.NotAllowed):
        return (
            'it refuses user %s the virtual host %s: make it (rabbitmqctl add_vhost), and give '
            'the user rights there (rabbitmqctl set_permissions)' % (user, virtual_host)
        )
    return None
