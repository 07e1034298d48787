"""What is done with instances: one-way orders, carried out by the cell that has the instance.

An order is on its way when its method returns. Its result is seen in the record of
the instance at the top; one that cannot be carried out leaves a fault and a failed
action there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cells.client import contract
from cells.objects import plain


class InstanceActions(contract.ContractClient):
    """Orders for one instance each. ``instance`` is an Instance."""

    # -- power --

    def start_instance(self, ctxt: Any, instance: Any) -> None:
        """Start an instance that is stopped."""
        self._order(ctxt, 'start_instance', instance=instance)

    def stop_instance(
        self, ctxt: Any, instance: Any, do_cast: bool = True, clean_shutdown: bool = True
    ) -> Any:
        """Stop an instance.

        :param do_cast: whether to return at once; else when the instance is stopped.
        :param clean_shutdown: whether the guest is asked to shut down; cells before 1.31 do.
        """
        send = self._order if do_cast else self._ask
        return send(
            ctxt,
            'stop_instance',
            instance=instance,
            do_cast=do_cast,
            clean_shutdown=clean_shutdown,
        )

    def reboot_instance(
        self, ctxt: Any, instance: Any, block_device_info: Any, reboot_type: str
    ) -> None:
        """Reboot an instance.

        :param block_device_info: not used.
        :param reboot_type: ``SOFT`` or ``HARD``.
        """
        self._order(ctxt, 'reboot_instance', instance=instance, reboot_type=reboot_type)

    def suspend_instance(self, ctxt: Any, instance: Any) -> None:
        """Write an instance to disk and stop it."""
        self._order(ctxt, 'suspend_instance', instance=instance)

    def resume_instance(self, ctxt: Any, instance: Any) -> None:
        """Go on with an instance that is suspended."""
        self._order(ctxt, 'resume_instance', instance=instance)

    def pause_instance(self, ctxt: Any, instance: Any) -> None:
        """Stop an instance where it is, in memory."""
        self._order(ctxt, 'pause_instance', instance=instance)

    def unpause_instance(self, ctxt: Any, instance: Any) -> None:
        """Go on with an instance that is paused."""
        self._order(ctxt, 'unpause_instance', instance=instance)

    # -- the end --

    def terminate_instance(
        self,
        ctxt: Any,
        instance: Any,
        bdms: Any,
        reservations: Any = None,
        delete_type: str = 'delete',
    ) -> None:
        """Delete an instance.

        :param bdms: and ``reservations``: not used.
        :param delete_type: ``delete`` or ``force_delete``; cells before 1.36 only delete.
        """
        self._order(ctxt, 'terminate_instance', instance=instance, delete_type=delete_type)

    def soft_delete_instance(self, ctxt: Any, instance: Any, reservations: Any = None) -> None:
        """Delete an instance so that it can be restored for a while.

        :param reservations: not used.
        """
        self._order(ctxt, 'soft_delete_instance', instance=instance)

    # -- size and place --

    def resize_instance(
        self,
        ctxt: Any,
        instance: Any,
        extra_instance_updates: Mapping[str, Any],
        scheduler_hint: Any,
        flavor: Any,
        reservations: Any,
        clean_shutdown: bool = True,
    ) -> None:
        """Give an instance another size; it waits for confirmation then.

        :param extra_instance_updates: arguments of the cell's own ``resize``.
        :param scheduler_hint: and ``reservations``: not used.
        :param flavor: a Flavor.
        :param clean_shutdown: whether the guest is asked to shut down; cells before 1.33 do.
        """
        self._order(
            ctxt,
            'resize_instance',
            instance=instance,
            flavor=plain.flatten(flavor),
            extra_instance_updates=extra_instance_updates,
            clean_shutdown=clean_shutdown,
        )

    def confirm_resize(
        self,
        ctxt: Any,
        instance: Any,
        migration: Any,
        host: Any,
        reservations: Any,
        cast: bool = True,
    ) -> None:
        """Keep the new size of an instance. Returns at once in any case.

        :param migration: like all behind it: not used.
        """
        self._order(ctxt, 'confirm_resize', instance=instance)

    def revert_resize(
        self, ctxt: Any, instance: Any, migration: Any, host: Any, reservations: Any
    ) -> None:
        """Give an instance its former size again.

        :param migration: like all behind it: not used.
        """
        self._order(ctxt, 'revert_resize', instance=instance)

    def live_migrate_instance(
        self,
        ctxt: Any,
        instance: Any,
        host_name: str | None,
        block_migration: bool,
        disk_over_commit: bool,
        request_spec: Any = None,
    ) -> None:
        """Move an instance to another host of its cell while it runs.

        :param host_name: of the host, None for any.
        :param request_spec: not used.
        """
        self._order(
            ctxt,
            'live_migrate_instance',
            instance=instance,
            block_migration=block_migration,
            disk_over_commit=disk_over_commit,
            host_name=host_name,
        )

    # -- disks --

    def snapshot_instance(self, ctxt: Any, instance: Any, image_id: str) -> None:
        """Copy the disk of an instance into an image that is there already."""
        self._order(ctxt, 'snapshot_instance', instance=instance, image_id=image_id)

    def backup_instance(
        self, ctxt: Any, instance: Any, image_id: str, backup_type: str, rotation: int
    ) -> None:
        """Copy the disk of an instance, and delete copies that are too old.

        :param backup_type: such as ``daily``; each is counted by itself.
        :param rotation: how many copies of the type are kept.
        """
        self._order(
            ctxt,
            'backup_instance',
            instance=instance,
            image_id=image_id,
            backup_type=backup_type,
            rotation=rotation,
        )

    def rebuild_instance(
        self,
        ctxt: Any,
        instance: Any,
        new_pass: str | None,
        injected_files: Sequence[Any] | None,
        image_ref: str,
        orig_image_ref: Any,
        orig_sys_metadata: Any,
        bdms: Any,
        recreate: bool = False,
        on_shared_storage: bool = False,
        host: str | None = None,
        preserve_ephemeral: bool = False,
        request_spec: Any = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the disk of an instance anew from an image.

        :param injected_files: pairs of path and content in base64.
        :param kwargs: what of the instance changes with it.
        :param orig_image_ref: like what is not named here: not used.
        """
        self._order(
            ctxt,
            'rebuild_instance',
            instance=instance,
            image_href=image_ref,
            admin_password=new_pass,
            files_to_inject=injected_files,
            preserve_ephemeral=preserve_ephemeral,
            kwargs=kwargs,
        )

    # -- inside --

    def reset_network(self, ctxt: Any, instance: Any) -> None:
        """Have the guest configure its network anew."""
        self._order(ctxt, 'reset_network', instance=instance)

    def inject_network_info(self, ctxt: Any, instance: Any) -> None:
        """Give the guest the description of its network again."""
        self._order(ctxt, 'inject_network_info', instance=instance)

    def set_admin_password(self, ctxt: Any, instance: Any, new_pass: str | None) -> None:
        """Set the password of the guest's administrator, None for one that is made up."""
        self._order(ctxt, 'set_admin_password', instance=instance, new_pass=new_pass)
