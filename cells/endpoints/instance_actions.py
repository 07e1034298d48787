"""What is done with instances: one-way orders that go to the cell of the instance.

What is wrong with an order that can be told without the instance is refused here; its
state, locks and permissions are looked at in its cell.
"""

from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, context, exceptions, paths, rpc
from cells.endpoints import given, orders
from cells.objects import plain

REBOOT_TYPES: Final = ('SOFT', 'HARD')
DELETE_TYPES: Final = ('delete', 'force_delete')

#: Copies of a disk that may be kept.
MOST_COPIES: Final = 2**31 - 1


class InstanceActionMethods(orders.Orders):
    """Orders for one instance each."""

    # -- power --

    @rpc.served
    def start_instance(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Start an instance that is stopped."""
        self._order_noted(ctxt, 'start_instance', instance)

    @rpc.served
    def stop_instance(
        self,
        ctxt: context.RequestContext,
        instance: Any,
        do_cast: bool = True,
        clean_shutdown: bool = True,
    ) -> Any:
        """Stop an instance.

        :param do_cast: whether to return at once, rather than when it is stopped.
        :param clean_shutdown: whether the guest is asked to shut down.
        """
        if arguments.boolean('do_cast', do_cast):
            with self.refusals_noted(ctxt, 'stop_instance', instance):
                clean = arguments.boolean('clean_shutdown', clean_shutdown)
                self.order(ctxt, 'stop_instance', instance, clean_shutdown=clean)
            return None
        clean = arguments.boolean('clean_shutdown', clean_shutdown)
        found = given.instance(instance)
        target = self.cell_of(found, self.at_once)
        kwargs = {'instance': found, 'clean_shutdown': clean}
        return self.ask(ctxt, 'stop_instance', target, kwargs).value

    @rpc.served
    def reboot_instance(
        self, ctxt: context.RequestContext, instance: Any, reboot_type: str
    ) -> None:
        """Reboot an instance.

        :param reboot_type: ``SOFT`` or ``HARD``.
        """
        with self.refusals_noted(ctxt, 'reboot_instance', instance):
            kind = arguments.word('reboot_type', reboot_type, REBOOT_TYPES)
            self.order(ctxt, 'reboot_instance', instance, reboot_type=kind)

    @rpc.served
    def suspend_instance(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Write an instance to disk and stop it."""
        self._order_noted(ctxt, 'suspend_instance', instance)

    @rpc.served
    def resume_instance(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Go on with an instance that is suspended."""
        self._order_noted(ctxt, 'resume_instance', instance)

    @rpc.served
    def pause_instance(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Stop an instance where it is, in memory."""
        self._order_noted(ctxt, 'pause_instance', instance)

    @rpc.served
    def unpause_instance(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Go on with an instance that is paused."""
        self._order_noted(ctxt, 'unpause_instance', instance)

    # -- the end --

    @rpc.served
    def terminate_instance(
        self, ctxt: context.RequestContext, instance: Any, delete_type: str = 'delete'
    ) -> None:
        """Delete an instance.

        :param delete_type: ``delete`` or ``force_delete``.
        """
        with self.refusals_noted(ctxt, 'terminate_instance', instance):
            kind = arguments.word('delete_type', delete_type, DELETE_TYPES)
            self.order(ctxt, 'terminate_instance', instance, delete_type=kind)

    @rpc.served
    def soft_delete_instance(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Delete an instance so that it can be restored for a while."""
        self._order_noted(ctxt, 'soft_delete_instance', instance)

    # -- size and place --

    @rpc.served
    def resize_instance(
        self,
        ctxt: context.RequestContext,
        instance: Any,
        flavor: Any,
        extra_instance_updates: Any,
        clean_shutdown: bool = True,
    ) -> None:
        """Give an instance another size; it waits for confirmation then.

        :param flavor: its fields; ``flavorid`` at least.
        :param extra_instance_updates: arguments of ``resize`` in the cell.
        """
        with self.refusals_noted(ctxt, 'resize_instance', instance):
            self.order(
                ctxt,
                'resize_instance',
                instance,
                flavor=_flavor(flavor),
                extra_instance_updates=arguments.mapping(
                    'extra_instance_updates', extra_instance_updates or {}
                ),
                clean_shutdown=arguments.boolean('clean_shutdown', clean_shutdown),
            )

    @rpc.served
    def confirm_resize(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Keep the new size of an instance."""
        self._order_noted(ctxt, 'confirm_resize', instance)

    @rpc.served
    def revert_resize(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Give an instance its former size again."""
        self._order_noted(ctxt, 'revert_resize', instance)

    @rpc.served
    def live_migrate_instance(
        self,
        ctxt: context.RequestContext,
        instance: Any,
        block_migration: Any,
        disk_over_commit: Any,
        host_name: str | None,
    ) -> None:
        """Move an instance to another host of its cell while it runs.

        :param block_migration: and ``disk_over_commit``: true or false; None: the cell is to see.
        :param host_name: of the host, with or without its cell; None for any.
        """
        with self.refusals_noted(ctxt, 'live_migrate_instance', instance):
            host = None
            if host_name is not None:
                target = self.cell_of(given.instance(instance), self.patiently)
                host = _host_in(target, arguments.text('host_name', host_name, longest=4096))
            self.order(
                ctxt,
                'live_migrate_instance',
                instance,
                block_migration=_flag('block_migration', block_migration),
                disk_over_commit=_flag('disk_over_commit', disk_over_commit),
                host_name=host,
            )

    # -- disks --

    @rpc.served
    def snapshot_instance(self, ctxt: context.RequestContext, instance: Any, image_id: str) -> None:
        """Copy the disk of an instance into an image."""
        with self.refusals_noted(ctxt, 'snapshot_instance', instance):
            image = arguments.text('image_id', image_id)
            self.order(ctxt, 'snapshot_instance', instance, image_id=image)

    @rpc.served
    def backup_instance(
        self,
        ctxt: context.RequestContext,
        instance: Any,
        image_id: str,
        backup_type: str,
        rotation: int,
    ) -> None:
        """Copy the disk of an instance, and delete copies that are too old.

        :param rotation: how many copies of the type are kept.
        """
        with self.refusals_noted(ctxt, 'backup_instance', instance):
            self.order(
                ctxt,
                'backup_instance',
                instance,
                image_id=arguments.text('image_id', image_id),
                backup_type=arguments.text('backup_type', backup_type),
                rotation=arguments.number('rotation', rotation, most=MOST_COPIES),
            )

    @rpc.served
    def rebuild_instance(
        self,
        ctxt: context.RequestContext,
        instance: Any,
        image_href: str,
        admin_password: str | None,
        files_to_inject: Any,
        preserve_ephemeral: bool,
        kwargs: Any,
    ) -> None:
        """Make the disk of an instance anew from an image.

        :param files_to_inject: pairs of path and content.
        :param kwargs: what of the instance changes with it; None for nothing.
        """
        with self.refusals_noted(ctxt, 'rebuild_instance', instance):
            self.order(
                ctxt,
                'rebuild_instance',
                instance,
                image_href=arguments.text('image_href', image_href, empty=True),
                admin_password=arguments.secret('admin_password', admin_password),
                files_to_inject=given.files('files_to_inject', files_to_inject),
                preserve_ephemeral=arguments.boolean('preserve_ephemeral', preserve_ephemeral),
                # Plain cells write into it.
                kwargs=arguments.mapping('kwargs', {} if kwargs is None else kwargs),
            )

    # -- inside --

    @rpc.served
    def reset_network(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Have the guest configure its network anew."""
        self._order_noted(ctxt, 'reset_network', instance)

    @rpc.served
    def inject_network_info(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Give the guest the description of its network again."""
        self._order_noted(ctxt, 'inject_network_info', instance)

    @rpc.served
    def set_admin_password(
        self, ctxt: context.RequestContext, instance: Any, new_pass: str | None
    ) -> None:
        """Set the password of the guest's administrator."""
        with self.refusals_noted(ctxt, 'set_admin_password', instance):
            password = arguments.secret('new_pass', new_pass)
            self.order(ctxt, 'set_admin_password', instance, new_pass=password)

    def _order_noted(self, ctxt: context.RequestContext, operation: str, instance: Any) -> None:
        """Order what takes nothing but the instance."""
        with self.refusals_noted(ctxt, operation, instance):
            self.order(ctxt, operation, instance)


def _flag(name: str, value: object) -> bool | None:
    """Return true, false or None, for which later releases have a word as well."""
    return None if value in (None, 'auto') else arguments.boolean(name, value)


def _flavor(value: object) -> dict[str, Any]:
    found = value if isinstance(value, Mapping) else plain.flatten(given.flavor_of(value))
    flavor = arguments.mapping('flavor', found)
    arguments.text('flavor.flavorid', flavor.get('flavorid'))
    return flavor


def _host_in(cell: paths.CellPath, text: str) -> str:
    """Return the name of a host in a cell; ``cell!path@host`` must be of that cell (R15).

    :raises Invalid: it is of another cell, or not a name.
    """
    try:
        path, host = paths.split_item(text)
    except ValueError as error:
        raise exceptions.Invalid(reason='host_name is %.120r: %s' % (text, error)) from None
    if path is not None and path != cell:
        raise exceptions.Invalid(
            reason='host_name is %.120r, which is not in cell %s, where the instance is'
            % (text, cell)
        )
    return arguments.text('host_name', host)
